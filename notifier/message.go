package notifier

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// IO's limits, in UTF-16 code units, which is how it counts (reference io.md, 2.2).
const (
	minSubject, maxSubject   = 10, 120
	minMarkdown, maxMarkdown = 80, 10_000
)

// Total is the length of the markdown as IO counts it: UTF-16 code units of front matter and text together. Emoji count
// two.
func (m Message) Total() int { return units(m.Markdown) }

// units counts UTF-16 code units.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// Check says whether IO would take the message for its form, and its app show it whole. The error never holds text.
func (m Message) Check() error {
	all := m.checkLengths()
	if strings.HasPrefix(strings.TrimSpace(m.Markdown), "---") {
		if _, err := parseFront(m.Markdown); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (m Message) checkLengths() (all []error) {
	if n := units(m.Subject); n < minSubject || n > maxSubject {
		all = append(all, fmt.Errorf("subject: %d UTF-16 units, want %d to %d", n, minSubject, maxSubject))
	}
	if n := m.Total(); n < minMarkdown || n > maxMarkdown {
		all = append(all, fmt.Errorf("markdown: %d UTF-16 units, want %d to %d", n, minMarkdown, maxMarkdown))
	}
	return all
}
