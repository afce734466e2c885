package program

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

// version is the version of the protocol, which docs/exec.md describes.
const version = 1

// Limits of one line in each direction, and of what it can contain.
const (
	maxLine         = 1 << 20   // bytes, without the line end
	maxMessage      = 512 << 10 // bytes, before base64
	maxPublicKey    = 16 << 10  // bytes of DER, which is RSA of about 130,000 bits
	maxCertificates = 100
	maxText         = 300 // bytes of a text of the program in an error or a line of the log
)

// A request is a line for the program.
type request struct {
	ID      uint64 `json:"id"`
	Request string `json:"request"` // open or sign

	Version int     `json:"version,omitempty"` // of open
	Key     *string `json:"key,omitempty"`     // of open

	Algorithm  string  `json:"algorithm,omitempty"`   // of sign, as the rest
	SaltLength int     `json:"salt_length,omitempty"` // in bytes, of RSA-PSS
	Digest     []byte  `json:"digest,omitempty"`
	Message    *[]byte `json:"message,omitempty"` // can be empty

	PIN string `json:"pin,omitempty"` // after the answer pin-required
}

// line returns the request with its line end.
func (r request) line() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // simple programs understand no more escapes than they must
	err := e.Encode(r)
	return b.Bytes(), err
}

// An answer is a line of the program. Fields with other names are ignored.
type answer struct {
	ID    *uint64    `json:"id"`
	Error *wireError `json:"error"`

	Version      *int     `json:"version"` // of open, as the next four
	PublicKey    string   `json:"public_key"`
	Certificates []string `json:"certificates"`
	Input        string   `json:"input"`
	Algorithms   []string `json:"algorithms"`

	Signature string `json:"signature"` // of sign
}

type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// errProgram is in the tree of all errors for answers that break the contract.
var errProgram = errors.New("the program breaks the contract in docs/exec.md")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProgram, fmt.Sprintf(format, args...))
}

// parseAnswer reads a line.
func parseAnswer(line []byte) (a answer, err error) {
	if !utf8.Valid(line) {
		return a, broken("its answer is not UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
		return a, broken("its answer is no JSON object: %q", excerpt(string(line)))
	}
	err = json.Unmarshal(line, &a)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return answer{}, broken("the field %q of its answer has a wrong type or is out of range", excerpt(wrong.Field))
	case err != nil: // the text of the error says nothing about the answer that this does not
		return answer{}, broken("its answer is no JSON object: %q", excerpt(string(line)))
	}
	return a, nil
}

// check compares the ID of an answer with that of the request.
func (a answer) check(id uint64) error {
	switch {
	case a.ID == nil:
		return broken("its answer has no id")
	case *a.ID != id:
		return broken("its answer has the id %d instead of %d", *a.ID, id)
	}
	return nil
}

// The codes of errors with a meaning.
const (
	codePINRequired  = "pin-required"
	codePINIncorrect = "pin-incorrect"
)

// meaning returns the errors for a code of the contract; nil: it has no meaning. The
// program, or what is behind it, may count an incorrect PIN, so no PIN is tried twice.
func meaning(code string) []error {
	for _, m := range []struct {
		code string
		errs []error
	}{
		{"unavailable", []error{signer.ErrUnavailable}},
		{"not-found", []error{signer.ErrNotFound}},
		{codePINRequired, []error{signer.ErrPINRequired}},
		{codePINIncorrect, []error{signer.ErrPINIncorrect, signer.ErrTryCounted}},
		{"pin-locked", []error{signer.ErrPINLocked}},
		{"unsupported", []error{errors.ErrUnsupported}},
	} {
		if m.code == code {
			return m.errs
		}
	}
	return nil
}

// A refusal is an error that the program has answered.
type refusal struct {
	code, text, hint string
	wrapped          []error
}

func (r *refusal) Error() string   { return r.text }
func (r *refusal) Unwrap() []error { return r.wrapped }
func (r *refusal) Hint() string    { return r.hint }

// err returns the error of the program, or nil. An unknown code has no meaning.
func (a answer) err() error {
	if a.Error == nil {
		return nil
	}
	r := &refusal{code: a.Error.Code, hint: excerpt(a.Error.Hint), wrapped: meaning(a.Error.Code)}
	r.text = "the program answers " + excerpt(r.code)
	if r.code == "" {
		r.text = "the program answers with an error without a code"
	}
	if len(r.wrapped) > 0 {
		r.text = r.wrapped[0].Error() + ": " + r.text
	}
	if message := excerpt(a.Error.Message); message != "" {
		r.text += ": " + message
	}
	return r
}

// excerpt makes a text of the program fit for an error: one short line of printable
// characters.
func excerpt(s string) string {
	cut := len(s) > maxText
	if cut {
		s = s[:maxText]
	}
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, strings.ToValidUTF8(s, "�")))
	if cut {
		s += "…"
	}
	return s
}

// opened is what the answer to open says.
type opened struct {
	pub        crypto.PublicKey
	certs      []*x509.Certificate // as the program lists them
	messages   bool                // it takes messages, not digests
	algorithms []algorithm
}

// opened checks the answer to open.
func (a answer) opened() (o opened, err error) {
	switch {
	case a.Version == nil:
		return o, broken("its answer to open has no version")
	case *a.Version != version:
		return o, signer.WithHint(fmt.Errorf("the program speaks version %d of the protocol, and this Holdfast only version %d", *a.Version, version),
			"use a version of the program, or of Holdfast, that fits the other")
	case a.PublicKey == "":
		return o, broken("its answer to open has no public_key")
	case len(a.Certificates) > maxCertificates:
		return o, broken("it has %d certificates, and at most %d are allowed", len(a.Certificates), maxCertificates)
	}
	if o.pub, err = parsePublicKey(a.PublicKey); err != nil {
		return o, err
	}
	for i, text := range a.Certificates {
		der, err := derOf(text, "CERTIFICATE")
		if err != nil {
			return o, broken("certificate %d is neither base64 nor PEM", i+1)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return o, broken("certificate %d cannot be parsed: %s", i+1, excerpt(err.Error()))
		}
		o.certs = append(o.certs, c)
	}
	switch a.Input {
	case "digest", "message":
		o.messages = a.Input == "message"
	default:
		return o, broken(`"input" is %q, and must be "digest" or "message"`, excerpt(a.Input))
	}
	if signsMessages(o.pub) && !o.messages {
		return o, broken(`"input" is "digest", but a key of type %s signs messages`, signer.DescribeKey(o.pub))
	}
	o.algorithms, err = choose(o.pub, a.Algorithms)
	return o, err
}

// parsePublicKey reads a SubjectPublicKeyInfo.
func parsePublicKey(text string) (crypto.PublicKey, error) {
	der, err := derOf(text, "PUBLIC KEY")
	if err != nil {
		return nil, broken(`"public_key" is neither base64 nor PEM with a PUBLIC KEY`)
	}
	if len(der) > maxPublicKey {
		return nil, broken(`"public_key" has %d bytes, and at most %d are allowed`, len(der), maxPublicKey)
	}
	if key := mldsa.ParsePKIX(der); key != nil {
		return key, nil
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, broken(`"public_key" cannot be parsed: %s`, excerpt(err.Error()))
	}
	return pub, nil
}

// derOf decodes base64, or a PEM block of the given type.
func derOf(text, blockType string) ([]byte, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if block.Type != blockType {
			return nil, errors.New("another PEM block")
		}
		return block.Bytes, nil
	}
	return base64.StdEncoding.DecodeString(text)
}
