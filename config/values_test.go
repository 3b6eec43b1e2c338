package config_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"staffetta/config"
)

func TestParseDuration(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       time.Duration
		wantErr    bool
	}{
		{"seconds", "90s", 90 * time.Second, false},
		{"parts of a second", "250ms", 250 * time.Millisecond, false},
		{"hours and minutes", "1h30m", 90 * time.Minute, false},
		{"days", "90d", 90 * 24 * time.Hour, false},
		{"nothing", "0s", 0, false},
		{"no days", "0d", 0, false},
		{"a number without a unit has none", "90", 0, true},
		{"only whole days", "1.5d", 0, true},
		{"no days ago", "-1d", 0, true},
		{"days do not overflow", "200000d", 0, true},
		{"days stand alone", "1d12h", 0, true},
		{"empty", "", 0, true},
		{"a unit alone", "d", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := config.ParseDuration(tt.text)
			if (err != nil) != tt.wantErr || time.Duration(got) != tt.want {
				t.Errorf("got %s and error %v, want %s and error: %t", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

func TestDurationIsWrittenAsItIsRead(t *testing.T) {
	for _, text := range []string{"0s", "250ms", "10s", "90s", "1m", "1h", "1h30m", "25h", "1d", "90d", "1h0m30s"} {
		d, err := config.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := config.ParseDuration(d.String())
		if err != nil || again != d {
			t.Errorf("%s is written as %s, which is read as %s (error %v)", text, d, again, err)
		}
	}
	if got, want := config.Duration(10*time.Minute).String(), "10m"; got != want {
		t.Errorf("ten minutes are written as %s, want %s", got, want)
	}
}

func TestParseByteSize(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       config.ByteSize
		wantErr    bool
	}{
		{"plain bytes", "1000", 1000, false},
		{"KiB", "512KiB", 512 << 10, false},
		{"MiB", "64MiB", 64 << 20, false},
		{"GiB", "1GiB", 1 << 30, false},
		{"a blank before the unit", "64 MiB", 64 << 20, false},
		{"the largest", "9223372036854775807", math.MaxInt64, false},
		{"larger than that", "9223372036854775808", 0, true},
		{"larger than that by its unit", "8589934592GiB", 0, true},
		{"MB is not MiB", "64MB", 0, true},
		{"negative", "-1", 0, true},
		{"only whole numbers", "1.5GiB", 0, true},
		{"empty", "", 0, true},
		{"a unit alone", "MiB", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := config.ParseByteSize(tt.text)
			if (err != nil) != tt.wantErr || got != tt.want {
				t.Errorf("got %d and error %v, want %d and error: %t", int64(got), err, int64(tt.want), tt.wantErr)
			}
		})
	}
}

func TestByteSizeIsWrittenInItsLargestUnit(t *testing.T) {
	for text, size := range map[string]config.ByteSize{"0": 0, "1000": 1000, "1KiB": 1024, "1537KiB": 1537 << 10, "64MiB": 64 << 20, "2GiB": 2 << 30} {
		if got := size.String(); got != text {
			t.Errorf("%d bytes are written as %s, want %s", int64(size), got, text)
		}
	}
}

func TestOneOrMore(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       config.OneOrMore
		wantErr    bool
	}{
		{"one", "a", config.OneOrMore{"a"}, false},
		{"several", "[a, b]", config.OneOrMore{"a", "b"}, false},
		{"a list of one", "[a]", config.OneOrMore{"a"}, false},
		{"an empty list", "[]", nil, false},
		{"empty", `""`, nil, false},
		{"nothing", "", nil, false},
		{"a mapping", "{a: b}", nil, true},
		{"a list of lists", "[[a]]", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got struct {
				Topic config.OneOrMore `yaml:"topic"`
			}
			err := yaml.Load([]byte("topic: "+tt.text), &got)
			if (err != nil) != tt.wantErr || !slices.Equal(got.Topic, tt.want) {
				t.Errorf("got %q and error %v, want %q and error: %t", got.Topic, err, tt.want, tt.wantErr)
			}
		})
	}
}

func TestTheSettleTimeOfASource(t *testing.T) {
	for _, tt := range []struct {
		subscribe           string
		every, settle, want time.Duration
	}{
		{"auto", time.Second, time.Minute, time.Minute},
		{"manual", 0, time.Minute, time.Minute},
		{"never", 5 * time.Minute, time.Minute, time.Minute},
		{"never", 30 * time.Second, time.Minute, 30 * time.Second},
		{"never", 30 * time.Second, 0, 0},
	} {
		c := &config.Config{Policy: config.Policy{Settle: config.Duration(tt.settle)}}
		s := config.Source{Subscribe: tt.subscribe, Sweep: config.Sweep{Every: new(config.Duration(tt.every))}}
		if got := c.SettleAt(s); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}
