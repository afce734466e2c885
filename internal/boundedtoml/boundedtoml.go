// Package boundedtoml decodes TOML within a time limit.
package boundedtoml

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// Limit is the time limit of [Decode]. A configuration of 64 KiB takes some
// milliseconds, but the decoder needs quadratic time and more for nested tables
// and for keys with many dots: minutes for a file of this size.
const Limit = 5 * time.Second

// ErrTooComplex is the error of [Decode] after its time limit.
var ErrTooComplex = errors.New("is too complex")

// Decode decodes text and returns the keys that T, a struct whose fields have
// tags, does not have. It fails with
// [ErrTooComplex] after [Limit], and with the cause of ctx when ctx ends. The
// decoder then continues in its goroutine, so the process should exit.
func Decode[T any](ctx context.Context, text string) (value T, unknown []toml.Key, err error) {
	return DecodeWithin[T](ctx, Limit, text)
}

// DecodeWithin is [Decode] with another limit, for a text that is larger and that the
// caller has searched for nested tables and keys with many dots.
func DecodeWithin[T any](ctx context.Context, limit time.Duration, text string) (value T, unknown []toml.Key, err error) {
	type result struct {
		value   T
		unknown []toml.Key
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("%w: it was not read within %v; it has too many nested tables or keys with dots", ErrTooComplex, limit))
	defer cancel()
	r, err := await.Result(ctx, func() (r result, err error) {
		meta, err := toml.Decode(text, &r.value)
		if err != nil {
			return r, &typeError{err}
		}
		r.unknown = meta.Undecoded()
		var raw map[string]any
		if _, err := toml.Decode(text, &raw); err != nil {
			return r, err
		}
		return r, checkTables(reflect.TypeFor[T](), raw, "")
	}, nil)
	return r.value, r.unknown, err
}
