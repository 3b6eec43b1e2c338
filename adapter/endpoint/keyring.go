package endpoint

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// keyring holds the public keys of one issuer. They are fetched again from time to time, and when a token names one that
// is not among them; while they cannot be fetched, those of the last time remain.
type keyring struct {
	source  string
	url     string
	client  *http.Client
	refresh time.Duration
	now     func() time.Time
	log     *slog.Logger

	keys    atomic.Pointer[[]publicKey]
	failing atomic.Bool

	fetching sync.Mutex // one at a time
	tried    time.Time
}

// publicKey is one key of the set, by its id, for one algorithm or, where it names none, for all that fit.
type publicKey struct {
	id, algorithm string
	key           crypto.PublicKey
}

const (
	keysRefresh = 15 * time.Minute
	keysRetry   = time.Minute      // after a fetch that failed
	keysPace    = 10 * time.Second // at least, between two fetches: strangers make up key ids as fast as they like
	keysTimeout = 5 * time.Second
	keysBytes   = 1 << 20
)

func newKeyring(source string, j JWT, o Options) *keyring {
	k := &keyring{source: source, url: j.KeysURL, client: j.Client, refresh: j.Refresh, now: o.Now, log: o.Log}
	k.keys.Store(new([]publicKey))
	return k
}

// Keys fetches the keys of the issuer once, and says how many there are: for who checks a configuration.
func (j JWT) Keys(ctx context.Context) (int, error) {
	keys, err := (&keyring{url: j.KeysURL, client: j.Client}).get(ctx)
	return len(keys), err
}

// find gives the keys that may have signed: that of the id, or for a token that names none all that fit.
func (k *keyring) find(ctx context.Context, id string, a algorithm) ([]crypto.PublicKey, doubt) {
	keys := k.among(id, a)
	if len(keys) == 0 {
		k.fetch(context.WithoutCancel(ctx)) // who hangs up shall not spoil it for the others
		keys = k.among(id, a)
	}
	switch {
	case len(keys) > 0:
		return keys, noDoubt
	case k.failing.Load():
		return nil, keysAway
	}
	return nil, jwtKey
}

func (k *keyring) among(id string, a algorithm) (keys []crypto.PublicKey) {
	for _, one := range *k.keys.Load() {
		if (id == "" || one.id == id) && (one.algorithm == "" || one.algorithm == a.String()) && a.fits(one.key) {
			keys = append(keys, one.key)
		}
	}
	return keys
}

// Run keeps the keys fresh until ctx ends.
func (k *keyring) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		k.fetch(ctx)
		if k.failing.Load() {
			timer.Reset(min(k.refresh, keysRetry))
		} else {
			timer.Reset(k.refresh)
		}
	}
}

// fetch fetches the keys, unless that was tried a moment ago.
func (k *keyring) fetch(ctx context.Context) {
	k.fetching.Lock()
	defer k.fetching.Unlock()
	now := k.now()
	if !k.tried.IsZero() && now.Sub(k.tried) < keysPace {
		return
	}
	k.tried = now
	keys, err := k.get(ctx)
	switch {
	case err == nil:
		k.keys.Store(&keys)
		if k.failing.CompareAndSwap(true, false) {
			k.log.WarnContext(ctx, "keys of the issuer of JWTs are fetched again", slog.String("source", k.source))
		}
	case ctx.Err() != nil: // we are stopping
	case k.failing.CompareAndSwap(false, true):
		k.log.ErrorContext(ctx, "keys of the issuer of JWTs cannot be fetched, those of the last time remain",
			slog.String("source", k.source), slog.Int("keys", len(*k.keys.Load())), slog.Any("error", err))
	}
}

func (k *keyring) get(ctx context.Context) ([]publicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, http.NoBody)
	if err != nil {
		return nil, errors.New("jwks_url is no URL")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %d", res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, keysBytes))
	if err != nil {
		return nil, withoutURL(err)
	}
	return readKeys(text)
}

// readKeys reads a key set (RFC 7517). What is no public key for signatures is left out; a set without any is none.
func readKeys(text []byte) ([]publicKey, error) {
	set, err := jwk.Parse(text, jwk.WithIgnoreParseError(true))
	if err != nil {
		return nil, errors.New("the answer is no JSON Web Key Set") // what is wrong with it may hold what it says
	}
	var keys []publicKey
	for i := range set.Len() {
		one, _ := set.Key(i)
		if usage, named := one.KeyUsage(); named && usage != string(jwk.ForSignature) {
			continue
		}
		public, err := one.PublicKey()
		if err != nil {
			continue
		}
		var key any // Export does not put an RSA key into a crypto.PublicKey
		if err := jwk.Export(public, &key); err != nil {
			continue
		}
		id, _ := one.KeyID()
		entry := publicKey{id: id, key: key}
		if named, ok := one.Algorithm(); ok {
			entry.algorithm = named.String()
		}
		keys = append(keys, entry)
	}
	if len(keys) == 0 {
		return nil, errors.New("the JSON Web Key Set holds no key for signatures")
	}
	return keys, nil
}

// withoutURL drops the URL of an HTTP error: its query may be somebody's secret.
func withoutURL(err error) error {
	if one, ok := errors.AsType[*url.Error](err); ok {
		return one.Err
	}
	return err
}
