package emulator

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// timeTag is the tag of a time in seconds since 1970 (RFC 8949, section 3.4.2).
const timeTag = 1

// decoderOfCBOR returns the decoder of requests. It allows indefinite lengths, which the
// protocol allows and SDKs use. The limits are far above what an operation needs.
var decoderOfCBOR = sync.OnceValues(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	MaxNestedLevels:   16,
	MaxArrayElements:  1000,
	MaxMapPairs:       100,
	BignumTag:         cbor.BignumTagForbidden,
	NaN:               cbor.NaNDecodeForbidden,
	Inf:               cbor.InfDecodeForbidden,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
}.DecMode)

// decodeCBOR decodes one CBOR map into a struct, whose members have their JSON names. It
// refuses unknown members.
func decodeCBOR(body []byte, in any) error {
	d, err := decoderOfCBOR()
	if err != nil {
		return err
	}
	err = d.Unmarshal(body, in)
	var unknown *cbor.UnknownFieldError
	if errors.As(err, &unknown) { // it does not contain the name
		return fmt.Errorf("unknown member %q", unknownMember(d, body, reflect.TypeOf(in).Elem()))
	}
	return err
}

// unknownMember returns the name of the first member of a CBOR map, or of the maps in it,
// that a struct does not have.
func unknownMember(d cbor.DecMode, b []byte, t reflect.Type) string {
	if t.Kind() == reflect.Slice {
		var all []cbor.RawMessage
		_ = d.Unmarshal(b, &all) // b was decoded before
		for _, element := range all {
			if name := unknownMember(d, element, t.Elem()); name != "" {
				return name
			}
		}
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	var members map[string]cbor.RawMessage
	_ = d.Unmarshal(b, &members)
	for name, value := range members {
		member, ok := memberType(t, name, strings.EqualFold)
		if !ok {
			return name
		}
		if name := unknownMember(d, value, member); name != "" {
			return name
		}
	}
	return ""
}

// encodeCBOR encodes a response.
func encodeCBOR(v any) ([]byte, error) { return cbor.Marshal(v) }

// A timestamp is a time in seconds since 1970: a number, which has a tag in CBOR.
type timestamp float64

// MarshalCBOR implements [cbor.Marshaler].
func (t timestamp) MarshalCBOR() ([]byte, error) {
	return cbor.Marshal(cbor.Tag{Number: timeTag, Content: float64(t)})
}

// UnmarshalCBOR implements [cbor.Unmarshaler].
func (t *timestamp) UnmarshalCBOR(b []byte) error {
	d, err := decoderOfCBOR()
	if err != nil {
		return err
	}
	var tag cbor.RawTag
	if err := d.Unmarshal(b, &tag); err != nil || tag.Number != timeTag {
		return fmt.Errorf("a time must be a number with the tag %d", timeTag)
	}
	return d.Unmarshal(tag.Content, (*float64)(t))
}
