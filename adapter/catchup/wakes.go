package catchup

// wakes lets those who look after sources look at one soon.
type wakes map[string]chan struct{}

func (w wakes) add(source string) { w[source] = make(chan struct{}, 1) }

// Wake has a source looked at soon; it never blocks.
func (w wakes) Wake(source string) {
	select {
	case w[source] <- struct{}{}:
	default:
	}
}
