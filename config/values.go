package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Duration is a length of time, written as Go writes it (90s, 15m, 72h) or in whole days (90d).
type Duration time.Duration

const day = 24 * time.Hour

var errDuration = errors.New("not a duration: want e.g. 90s, 15m, 72h or 90d")

// ParseDuration reads what a Duration is written as. Its error never repeats the text.
func ParseDuration(text string) (Duration, error) {
	if number, isDays := strings.CutSuffix(text, "d"); isDays {
		days, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, errDuration
		}
		return Duration(time.Duration(days) * day), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errDuration
	}
	return Duration(d), nil
}

// UnmarshalYAML reads a Duration.
func (d *Duration) UnmarshalYAML(node *yaml.Node) (err error) {
	*d, err = ParseDuration(node.Value)
	return err
}

// String writes whole days as days, everything else as Go does, without the zeros at its end.
func (d Duration) String() string {
	length := time.Duration(d)
	if length >= day && length%day == 0 {
		return strconv.FormatInt(int64(length/day), 10) + "d"
	}
	text := length.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText writes what ParseDuration reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// OneOrMore is a list of texts; a single one may be written without it.
type OneOrMore []string

var errOneOrMore = errors.New("want a text, or a list of texts")

// UnmarshalYAML reads a text or a list of them. An empty text is as good as none. Its error never repeats what is written.
func (o *OneOrMore) UnmarshalYAML(node *yaml.Node) error {
	var one string
	var several []string
	switch {
	case node.Decode(&one) == nil && one == "":
		*o = nil
	case node.Decode(&one) == nil:
		*o = OneOrMore{one}
	case node.Decode(&several) == nil:
		*o = several
	default:
		return errOneOrMore
	}
	return nil
}

// ByteSize is a number of bytes, written as 512KiB, 64MiB, 1GiB or a plain number.
type ByteSize int64

// The units of a ByteSize, largest first.
var byteUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var errByteSize = errors.New("not a size: want e.g. 512KiB, 64MiB, 1GiB or a plain number of bytes")

// ParseByteSize reads what a ByteSize is written as. Its error never repeats the text.
func ParseByteSize(text string) (ByteSize, error) {
	number, unit := text, int64(1)
	for _, u := range byteUnits {
		if before, found := strings.CutSuffix(text, u.name); found {
			number, unit = strings.TrimSpace(before), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, errByteSize
	}
	return ByteSize(n * unit), nil
}

// UnmarshalYAML reads a ByteSize.
func (b *ByteSize) UnmarshalYAML(node *yaml.Node) (err error) {
	*b, err = ParseByteSize(node.Value)
	return err
}

// String writes the size in the largest unit that it is a multiple of.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(b)/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText writes what ParseByteSize reads.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
