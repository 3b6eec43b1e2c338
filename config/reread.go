package config

import (
	"os"
	"slices"
	"sync"
	"time"
)

// rereadEvery bounds how often files are looked at for a change: a renewed certificate may wait that long.
const rereadEvery = time.Second

// reread is what was read from files, read again after one of them changed, so that a rotation needs no restart.
type reread[T any] struct {
	files []string
	read  func() (T, error)
	now   func() time.Time

	mu     sync.Mutex
	looked time.Time
	seen   []fileStamp
	value  T
}

// fileStamp tells one content of a file from another.
type fileStamp struct {
	modified time.Time
	size     int64
}

// newReread reads for the first time: what cannot be read at start is an error.
func newReread[T any](read func() (T, error), files ...string) (*reread[T], error) {
	value, err := read()
	if err != nil {
		return nil, err
	}
	return &reread[T]{files: files, read: read, now: time.Now, looked: time.Now(), seen: stamps(files), value: value}, nil
}

// get gives what the files hold now. While they cannot be read (a rotation in the middle of writing) it is what they
// held before.
func (r *reread[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.looked) < rereadEvery {
		return r.value
	}
	r.looked = now
	seen := stamps(r.files)
	if slices.Equal(seen, r.seen) {
		return r.value
	}
	if value, err := r.read(); err == nil {
		r.value, r.seen = value, seen
	}
	return r.value
}

func stamps(files []string) []fileStamp {
	seen := make([]fileStamp, len(files))
	for i, path := range files {
		if info, err := os.Stat(path); err == nil {
			seen[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return seen
}
