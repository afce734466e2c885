package file

import (
	"errors"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxDepth bounds the nesting of ASN.1. Valid files have 14 levels.
const maxDepth = 32

var errASN1 = errors.New("malformed ASN.1")

// toDER returns the first element of in with definite lengths of minimal size,
// and with primitive OCTET STRINGs, and the bytes after it. Some programs write
// keys and PKCS #12 in BER (X.690, section 8). The result can share memory with
// in. The contents of an OCTET STRING are not changed.
func toDER(in []byte) (der, rest []byte, err error) {
	return appendDER(nil, in, 0)
}

func appendDER(out, in []byte, depth int) (der, rest []byte, err error) {
	const octetString, constructed, indefinite = 0x04, 0x20, 0x80
	if depth > maxDepth || len(in) < 2 || in[0]&0x1f == 0x1f {
		return nil, nil, errASN1
	}
	tag, length := in[0], int(in[1])
	body := in[2:]
	if length > indefinite {
		n := length & 0x7f
		if n > 8 || n > len(body) {
			return nil, nil, errASN1
		}
		length = 0
		for _, b := range body[:n] {
			if length >= 1<<23 { // the next one fits into an int of 32 bits
				return nil, nil, errASN1
			}
			length = length<<8 | int(b)
		}
		body = body[n:]
	} else if length == indefinite {
		length = -1
	}
	if length > len(body) || length < 0 && tag&constructed == 0 {
		return nil, nil, errASN1
	}
	rest = nil
	if length >= 0 {
		body, rest = body[:length], body[length:]
	}
	if tag&constructed == 0 {
		return append(appendHeader(out, tag, len(body)), body...), rest, nil
	}
	var parts []byte
	for length < 0 || len(body) > 0 {
		if length < 0 && len(body) >= 2 && body[0] == 0 && body[1] == 0 {
			rest = body[2:]
			break
		}
		if parts, body, err = appendDER(parts, body, depth+1); err != nil {
			return nil, nil, err
		}
	}
	if tag == octetString|constructed {
		tag = octetString
		if parts, err = joinOctets(parts); err != nil {
			return nil, nil, err
		}
	}
	return append(appendHeader(out, tag, len(parts)), parts...), rest, nil
}

func appendHeader(out []byte, tag byte, length int) []byte {
	out = append(out, tag)
	if length < 0x80 {
		return append(out, byte(length))
	}
	n := (bits.Len(uint(length)) + 7) / 8
	out = append(out, 0x80|byte(n))
	for n--; n >= 0; n-- {
		out = append(out, byte(length>>(8*n)))
	}
	return out
}

// joinOctets returns the joined contents of OCTET STRINGs in DER.
func joinOctets(der []byte) (joined []byte, err error) {
	for in := cryptobyte.String(der); !in.Empty(); {
		var part cryptobyte.String
		if !in.ReadASN1(&part, asn1.OCTET_STRING) {
			return nil, errASN1
		}
		joined = append(joined, part...)
	}
	return joined, nil
}
