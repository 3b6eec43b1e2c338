package config

import (
	"fmt"
	"os"
	"strings"

	"staffetta/fhir/fiscalcode"
)

// The modes of `io.mode`.
const (
	ModeOff  = "off"  // everything is decided and written down, and IO is asked nothing
	ModeTest = "test" // only those of io.allow reach IO
	ModeLive = "live"
)

// Keys gives the service's keys, the primary one first: what their files hold now, so that a rotation needs no restart.
func (io IO) Keys() (keys func() []string, err error) {
	var kept []func() Secret
	for _, one := range []struct {
		key, file string
		value     Secret
	}{
		{"io.key", io.KeyFile, io.Key},
		{"io.secondary_key", io.SecondaryKeyFile, io.SecondaryKey},
	} {
		if one.file == "" {
			kept = append(kept, func() Secret { return one.value })
			continue
		}
		// Each by itself: where one file is gone, a new key in the other one is still noticed.
		from, err := newReread(func() (Secret, error) { return readSecretFile(one.file) }, one.file)
		if err != nil {
			return nil, fmt.Errorf("%s_file: %s: %w", one.key, one.file, withoutPath(err))
		}
		kept = append(kept, from.get)
	}
	return func() []string {
		now := make([]string, 0, len(kept))
		for _, get := range kept {
			if secret := get(); secret != "" {
				now = append(now, string(secret))
			}
		}
		return now
	}, nil
}

// Recipients are those whom `io.mode: test` may reach, once Complete has read them.
func (io IO) Recipients() []fiscalcode.Code {
	codes := make([]fiscalcode.Code, 0, len(io.Allow))
	for _, text := range io.Allow {
		if code, err := fiscalcode.Recipient(string(text)); err == nil {
			codes = append(codes, code)
		}
	}
	return codes
}

// resolveAllow adds the codes of the file to those in the configuration: one a line, what follows # is for people.
func (io *IO) resolveAllow(m *mistakes) {
	for i := range io.Allow {
		m.expand(fmt.Sprintf("io.allow[%d]", i), &io.Allow[i])
	}
	if io.AllowFile == "" {
		return
	}
	text, err := os.ReadFile(io.AllowFile)
	if err != nil {
		m.file("io.allow_file", io.AllowFile, err)
		return
	}
	for line := range strings.Lines(string(text)) {
		code, _, _ := strings.Cut(line, "#")
		if code = strings.TrimSpace(code); code != "" {
			io.Allow = append(io.Allow, Secret(code))
		}
	}
}

// validateAllow never repeats what it refuses: it may be a codice fiscale.
func (io IO) validateAllow(m *mistakes) {
	if io.Mode == ModeTest && len(io.Allow) == 0 {
		m.add("io.allow", "none, want at least one codice fiscale in mode test, or allow_file")
	}
	for i, text := range io.Allow {
		if environmentName.MatchString(string(text)) {
			continue // that it is not set was said when it was read
		}
		if _, err := fiscalcode.Recipient(string(text)); err != nil {
			m.add(fmt.Sprintf("io.allow[%d]", i), "%s", err)
		}
	}
}
