package credentials

import "sync/atomic"

// An Encoded turns credentials into the bytes of an answer and keeps the last,
// since the same are asked for many times. Its zero value is ready for use; it
// is safe for concurrent use.
type Encoded struct{ last atomic.Pointer[encoded] }

type encoded struct {
	of    Credentials
	bytes []byte
}

// Bytes returns what encode makes of c. The caller must not change it.
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
