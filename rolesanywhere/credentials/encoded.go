package credentials

import "sync/atomic"

// An Encoded encodes credentials for a response and caches the last result. The
// zero value is ready for use. It is safe for concurrent use.
type Encoded struct{ last atomic.Pointer[encoded] }

type encoded struct {
	of    Credentials
	bytes []byte
}

// Bytes returns encode(c), possibly from the cache. The caller must not change
// the result.
func (e *Encoded) Bytes(c Credentials, encode func(Credentials) ([]byte, error)) ([]byte, error) {
	if last := e.last.Load(); last != nil && last.of == c {
		return last.bytes, nil
	}
	b, err := encode(c)
	if err == nil {
		e.last.Store(&encoded{c, b})
	}
	return b, err
}
