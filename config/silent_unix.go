//go:build unix

package config

import (
	"errors"
	"syscall"
)

// silent says whether a connection that was kept is as it was left: over one that the server has closed meanwhile, or on which
// it said what nobody asked for, nothing is sent. Of a message that gets lost on such a way nobody knows whether IO took it.
func (c *conn) silent() bool {
	if c.below == nil {
		return true
	}
	quiet := false
	err := c.below.Read(func(fd uintptr) bool {
		var some [1]byte
		_, err := syscall.Read(int(fd), some[:])
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}
