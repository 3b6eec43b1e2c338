package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

const keyBytes = 32 // AES-256

var errKey = errors.New("want base64 of 32 bytes")

// RawKey is a key in bytes, with the id that sealed values name it by.
type RawKey struct {
	ID  uint8
	Key []byte
}

// SealKeys are all seal keys in bytes: the first one seals, all of them open.
func (l Ledger) SealKeys() ([]RawKey, error) {
	written := append([]SealKey{{ID: l.SealKeyID, Key: l.SealKey}}, l.OlderSealKeys...)
	keys := make([]RawKey, 0, len(written))
	for _, one := range written {
		key, err := rawKey(one.Key)
		if err != nil {
			return nil, fmt.Errorf("seal key %d: %w", one.ID, err)
		}
		keys = append(keys, RawKey{ID: one.ID, Key: key})
	}
	return keys, nil
}

// FirstSealKey is the one that the naming key is derived from where none is configured: that of the lowest id.
func FirstSealKey(keys []RawKey) []byte {
	return slices.MinFunc(keys, func(a, b RawKey) int { return int(a.ID) - int(b.ID) }).Key
}

// Naming is the configured naming key in bytes; nil where it is to be derived from FirstSealKey.
func (l Ledger) Naming() ([]byte, error) {
	if l.NamingKey == "" {
		return nil, nil
	}
	key, err := rawKey(l.NamingKey)
	if err != nil {
		return nil, fmt.Errorf("naming key: %w", err)
	}
	return key, nil
}

// NamedBy says for people which key of the file names records: that of Naming, or that of FirstSealKey.
func (l Ledger) NamedBy() string {
	if l.NamingKey != "" {
		return keyOrFile("ledger.naming_key", l.NamingKeyFile)
	}
	first, key := l.SealKeyID, keyOrFile("ledger.seal_key", l.SealKeyFile)
	for i, older := range l.OlderSealKeys {
		if older.ID < first {
			first, key = older.ID, keyOrFile(fmt.Sprintf("ledger.older_seal_keys[%d].key", i), older.KeyFile)
		}
	}
	return fmt.Sprintf("%s, the seal key with the lowest id (%d), since there is no ledger.naming_key", key, first)
}

// keyOrFile is a key of the file, as it is given there.
func keyOrFile(key, path string) string {
	if path == "" {
		return key
	}
	return fmt.Sprintf("%s_file (%s)", key, path)
}

func rawKey(text Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(key) != keyBytes {
		return nil, errKey
	}
	return key, nil
}
