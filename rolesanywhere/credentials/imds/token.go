package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// Tokens issues and checks session tokens without storing them: a token
// consists of its expiry and a MAC of the expiry. Tokens is safe for concurrent
// use.
type Tokens struct {
	clock func() time.Time
	macs  sync.Pool // of hash.Hash: HMACs with the key
}

// NewTokens returns Tokens with a random key, so that it does not accept tokens
// of another or an earlier process. now is the clock; nil: time.Now.
func NewTokens(now func() time.Time) *Tokens {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &Tokens{clock: now, macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func (t *Tokens) now() time.Time {
	if t.clock == nil {
		return time.Now()
	}
	return t.clock()
}

const tokenSize = 8 + sha256.Size // expiry in seconds, MAC

func (t *Tokens) issue(ttl time.Duration) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, tokenSize), uint64(t.now().Add(ttl).Unix()))
	return base64.RawURLEncoding.EncodeToString(t.appendMAC(b))
}

// appendMAC returns expiry followed by its MAC.
func (t *Tokens) appendMAC(expiry []byte) []byte {
	mac := t.macs.Get().(hash.Hash)
	defer t.macs.Put(mac)
	mac.Reset()
	mac.Write(expiry)
	return mac.Sum(expiry)
}

func (t *Tokens) valid(token string) bool {
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenSize) {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenSize {
		return false
	}
	if !hmac.Equal(b, t.appendMAC(b[:8:8])) {
		return false
	}
	return t.now().Unix() < int64(binary.BigEndian.Uint64(b))
}
