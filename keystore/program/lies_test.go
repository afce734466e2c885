//go:build unix

package program_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/signer"
)

// When the error of a lie is expected.
const (
	atOpen   = "open"
	atSign   = "the first signature"
	atSecond = "the second signature"
	never    = "never"
)

// lies are the programs, each with what Holdfast must say about it. It is filled by
// init, because the rows use it.
var lies []lieRow

type lieRow struct {
	name string
	run  func(*liar) // serve is called when it returns
	at   string
	hang bool // the call gets a context that ends
	is   error
	text string // in the error or its hint
}

func init() {
	hang := func(*liar) { select {} }
	after := func(steps ...func(*liar)) func(*liar) {
		return func(l *liar) {
			l.open()
			for _, s := range steps {
				s(l)
			}
		}
	}
	wait := func(l *liar) { l.next() }
	exit := func(code int) func(*liar) { return func(*liar) { os.Exit(code) } }
	raw := func(text string) func(*liar) { return func(l *liar) { l.raw(text) } }
	sign := func(line string) func(*liar) { return after(func(l *liar) { l.sign(line) }) }
	signAs := func(change func(*exectest.Request, *exectest.Answer)) func(*liar) {
		return after(func(l *liar) { l.signAs(change) })
	}
	openAs := func(change func(*exectest.Answer)) func(*liar) { return func(l *liar) { l.openAs(change) } }
	openWith := func(fields string) func(*liar) { return func(l *liar) { l.openWith(fields) } }
	sleeper := func(attributes *syscall.SysProcAttr) func(*liar) {
		return func(l *liar) {
			cmd := exec.Command("sleep", "1000")
			cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, attributes
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			if attributes == nil {
				note(cmd.Process.Pid)
			} else if err := os.WriteFile(os.Getenv(dirVariable)+"/stray-"+fmt.Sprint(cmd.Process.Pid), nil, 0o600); err != nil {
				panic(err)
			}
		}
	}
	gigabyte := func(l *liar) {
		part := strings.Repeat("x", 1<<20)
		for range 1 << 10 {
			l.raw(part)
		}
	}
	const program, noObject = "docs/exec.md", "no JSON object"
	lies = []lieRow{
		{"hangs at open", hang, atOpen, true, signer.ErrUnavailable, "does not answer"},
		{"hangs after it has read open", func(l *liar) { l.next(); hang(l) }, atOpen, true, signer.ErrUnavailable, "does not answer"},
		{"hangs at sign", after(wait, hang), atSign, true, signer.ErrUnavailable, "does not answer"},
		{"exits at once", exit(3), atOpen, false, signer.ErrUnavailable, "exit status 3"},
		{"exits at once with success", exit(0), atOpen, false, signer.ErrUnavailable, "has ended without an answer"},
		{"says why it exits", func(*liar) { fmt.Fprintln(os.Stderr, "no network\x1b[2J"); os.Exit(1) }, atOpen, false, signer.ErrUnavailable, "(exit status 1): no network�[2J"},
		{"exits at sign", after(wait, exit(4)), atSign, false, signer.ErrUnavailable, "started again without success: the program has ended without an answer (exit status 4)"},
		{"exits in the middle of a line", func(l *liar) { l.next(); l.raw(`{"id":1,"vers`); os.Exit(0) }, atOpen, false, signer.ErrUnavailable, "in the middle of a line"},
		{"exits in the middle of a signature", after(func(l *liar) { l.next(); l.raw(`{"id":2,"signature":"MEUC`); os.Exit(0) }), atSign, false, signer.ErrUnavailable, "in the middle of a line"},
		{"kills itself", after(wait, func(*liar) { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }), atSign, false, signer.ErrUnavailable, "signal: killed"},
		{"writes a gigabyte at open", gigabyte, atOpen, false, nil, "a line of more than 1048576 bytes"},
		{"writes a gigabyte at sign", after(wait, gigabyte), atSign, false, nil, "a line of more than 1048576 bytes"},
		{"writes endless lines", after(func(l *liar) {
			for {
				l.raw("{}\n")
			}
		}), atSign, false, nil, program},
		{"greets", raw("Welcome to the signer!\n"), atOpen, false, nil, `: "Welcome to the signer!"`},
		{"writes an empty line", raw("\n"), atOpen, false, nil, program},
		{"writes NULs", after(wait, raw("\x00\x00\x00\n")), atSign, false, nil, noObject},
		{"writes NULs in an object", after(wait, raw("{\"id\":2,\"signature\":\"\x00\"}\n")), atSign, false, nil, noObject},
		{"writes no UTF-8", after(wait, raw("{\"id\":2,\"signature\":\"\xff\xfe\"}\n")), atSign, false, nil, "not UTF-8"},
		{"writes a list", after(wait, raw("[]\n")), atSign, false, nil, noObject},
		{"writes null", after(wait, raw("null\n")), atSign, false, nil, noObject},
		{"writes deep JSON", after(wait, raw(`{"id":2,"x":`+strings.Repeat("[", 400<<10)+strings.Repeat("]", 400<<10)+"}\n")), atSign, false, nil, noObject},
		{"writes two objects on a line", sign(`{"id":ID}{"id":ID}`), atSign, false, nil, noObject},
		{"answers with another id", signAs(func(_ *exectest.Request, a *exectest.Answer) { a.ID++ }), atSign, false, nil, "has the id 3 instead of 2"},
		{"answers without an id", sign(`{"signature":"MEUC"}`), atSign, false, nil, "has no id"},
		{"answers with an id twice", sign(`{"id":ID,"id":99,"signature":"MEUC"}`), atSign, false, nil, "has the id 99"},
		{"answers with a huge id", sign(`{"id":1e999,"signature":"MEUC"}`), atSign, false, nil, `the field "id"`},
		{"answers with an id of a hundred digits", sign(`{"id":` + strings.Repeat("9", 100) + `,"signature":"MEUC"}`), atSign, false, nil, `the field "id"`},
		{"answers twice", after(func(l *liar) { a := l.Answer(l.next()); l.answer(a); l.answer(a) }), atSecond, false, nil, program},
		{"answers before it is asked", after(func(l *liar) { l.raw(`{"id":2,"signature":"MEUCIQ=="}` + "\n") }), atSign, false, nil, ""},
		{"answers open only with its id", func(l *liar) { l.next(); l.raw(`{"id":1}` + "\n") }, atOpen, false, nil, "has no version"},
		{"answers with nothing", sign(`{"id":ID}`), atSign, false, nil, "neither a signature nor an error"},
		{"answers with a number for a signature", sign(`{"id":ID,"signature":1}`), atSign, false, nil, `the field "signature"`},
		{"answers with no base64", sign(`{"id":ID,"signature":"%%%"}`), atSign, false, nil, "not base64"},

		{"makes a wrong signature", signAs(func(_ *exectest.Request, a *exectest.Answer) { a.Signature = random(70) }), atSign, false, signer.ErrMismatch, "does not verify"},
		{"signs another message", after(func(l *liar) {
			q := l.next()
			q.Digest[0] ^= 1
			l.answer(l.Answer(q))
		}), atSign, false, signer.ErrMismatch, "does not verify"},
		{"signs with r and s", signAs(func(_ *exectest.Request, a *exectest.Answer) {
			var sig struct{ R, S *big.Int }
			if _, err := asn1.Unmarshal(a.Signature, &sig); err != nil {
				panic(err)
			}
			a.Signature = append(sig.R.FillBytes(make([]byte, 32)), sig.S.FillBytes(make([]byte, 32))...)
		}), atSign, false, signer.ErrMismatch, "ASN.1 DER"},
		{"shows the key of somebody else", openAs(func(a *exectest.Answer) { a.PublicKey, _ = x509.MarshalPKIXPublicKey(newKey().Public()) }), atSign, false, signer.ErrMismatch, "does not verify"},
		{"changes its key", func(l *liar) {
			l.next()
			l.Key = newKey()
			spki, _ := x509.MarshalPKIXPublicKey(l.Key.Public())
			l.answer(exectest.Answer{ID: 1, Version: 1, PublicKey: spki, Input: "digest"})
			l.next()
			os.Exit(1)
		}, atSign, false, signer.ErrMismatch, "has another key now"},
		{"changes its input", func(l *liar) {
			first := os.Mkdir(os.Getenv(dirVariable)+"/begun", 0o700) == nil
			l.openAs(func(a *exectest.Answer) {
				if !first {
					a.Input = "message"
				}
			})
			l.next()
			os.Exit(1)
		}, atSign, false, nil, "takes other input now"},

		{"speaks version 2", openAs(func(a *exectest.Answer) { a.Version = 2 }), atOpen, false, nil, "speaks version 2 of the protocol, and this Holdfast only version 1"},
		{"speaks a huge version", func(l *liar) { l.next(); l.raw(`{"id":1,"version":1e9999}` + "\n") }, atOpen, false, nil, `the field "version"`},
		{"has no version", openAs(func(a *exectest.Answer) { a.Version = 0 }), atOpen, false, nil, "has no version"},
		{"has no public key", openAs(func(a *exectest.Answer) { a.PublicKey = nil }), atOpen, false, nil, "has no public_key"},
		{"has a broken public key", openAs(func(a *exectest.Answer) { a.PublicKey = a.PublicKey[:40] }), atOpen, false, nil, "cannot be parsed"},
		{"has a public key of a megabyte", openAs(func(a *exectest.Answer) { a.PublicKey = random(600 << 10) }), atOpen, false, nil, "614400 bytes"},
		{"has text for a public key", openWith(`"public_key":"alias/app"`), atOpen, false, nil, "neither base64 nor PEM"},
		{"shows a private key", openWith(`"public_key":"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"`), atOpen, false, nil, "neither base64 nor PEM with a PUBLIC KEY"},
		{"has a key that cannot sign", openAs(func(a *exectest.Answer) {
			key, _ := ecdh.X25519().GenerateKey(rand.Reader)
			a.PublicKey, _ = x509.MarshalPKIXPublicKey(key.PublicKey())
		}), atOpen, false, errors.ErrUnsupported, "RSA, ECDSA, Ed25519 or ML-DSA"},
		{"has ten thousand certificates", openAs(func(a *exectest.Answer) { a.Certificates = make([][]byte, 10_000) }), atOpen, false, nil, "10000 certificates"},
		{"has a broken certificate", openAs(func(a *exectest.Answer) { a.Certificates[1] = a.Certificates[1][:99] }), atOpen, false, nil, "certificate 2 cannot be parsed"},
		{"has a certificate in an object", openWith(`"certificates":[{"pem":""}]`), atOpen, false, nil, `the field "certificates`},
		{"takes neither", openAs(func(a *exectest.Answer) { a.Input = "hash" }), atOpen, false, nil, `"input" is "hash"`},
		{"makes only unknown signatures", openAs(func(a *exectest.Answer) { a.Algorithms = []string{"ecdsa-with-SHA1", "rsa_pkcs1_sha256"} }), atOpen, false, nil, "none for a key of type ECDSA P-256"},

		{"knows no key", func(l *liar) {
			l.next()
			l.answer(exectest.Answer{ID: 1, Error: &exectest.Error{Code: "not-found", Message: "no key\nof this name", Hint: "look at \x1b[2Jthe console"}})
		}, atOpen, false, signer.ErrNotFound, "the program answers not-found: no key of this name: look at �[2Jthe console"},
		{"cannot reach its device", signAs(func(_ *exectest.Request, a *exectest.Answer) { a.Error = &exectest.Error{Code: "unavailable"} }), atSign, false, signer.ErrUnavailable, "the program answers unavailable"},
		{"answers with a new code", signAs(func(_ *exectest.Request, a *exectest.Answer) { a.Error = &exectest.Error{Code: "quota-exceeded"} }), atSign, false, nil, "the program answers quota-exceeded"},
		{"answers without a code", sign(`{"id":ID,"error":{}}`), atSign, false, nil, "an error without a code"},
		{"tells a long story", signAs(func(_ *exectest.Request, a *exectest.Answer) {
			a.Error = &exectest.Error{Code: "x", Message: strings.Repeat("story ", 100_000), Hint: strings.Repeat("y", 100_000)}
		}), atSign, false, nil, "story…"},
		{"wants a PIN", signAs(func(_ *exectest.Request, a *exectest.Answer) { a.Error = &exectest.Error{Code: "pin-required"} }), atSign, false, signer.ErrPINRequired, "pin-required"},
		{"is locked", signAs(func(_ *exectest.Request, a *exectest.Answer) { a.Error = &exectest.Error{Code: "pin-locked"} }), atSign, false, signer.ErrPINLocked, "pin-locked"},

		{"closes its output", after(wait, func(*liar) { os.Stdout.Close(); select {} }), atSign, false, signer.ErrUnavailable, "closed its standard output"},
		{"closes its input", after(func(*liar) { os.Stdin.Close(); select {} }), atSign, true, signer.ErrUnavailable, "does not answer"},
		{"leaves a child with its output", after(wait, sleeper(nil), exit(0)), atSign, false, signer.ErrUnavailable, "has ended without an answer"},
		{"leaves a daemon with its output", after(wait, sleeper(&syscall.SysProcAttr{Setsid: true}), exit(0)), atSign, true, signer.ErrUnavailable, ""},
		{"has a child while it hangs", after(wait, sleeper(nil), hang), atSign, true, signer.ErrUnavailable, "does not answer"},

		// Programs that are only unusual.
		{"is honest", after(), never, false, nil, ""},
		{"has unknown fields", openWith(`"server":{"name":"x","list":[1,2]},"Public_key2":""`), never, false, nil, ""},
		{"ends lines with CR LF", func(l *liar) { a := l.Answer(l.next()); l.raw(crlf(a)) }, never, false, nil, ""},
		{"has no certificates", openAs(func(a *exectest.Answer) { a.Certificates = nil }), never, false, nil, ""},
		{"has the certificate of another key", openAs(func(a *exectest.Answer) { a.Certificates = a.Certificates[:1] }), never, false, nil, ""},
		{"has PEM", func(l *liar) {
			a := l.Answer(l.next())
			line, _ := json.Marshal(map[string]any{"id": 1, "version": 1, "input": "digest", "public_key": pemOf("PUBLIC KEY", a.PublicKey), "certificates": []string{pemOf("CERTIFICATE", a.Certificates[0])}})
			l.raw(string(line) + "\n")
		}, never, false, nil, ""},
		{"writes endless errors", func(l *liar) {
			go func() {
				for {
					fmt.Fprintln(os.Stderr, strings.Repeat("error ", 1000))
				}
			}()
		}, never, false, nil, ""},
		{"ignores the end of its input and signals", func(l *liar) {
			signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
			for range 3 { // open and two signatures
				l.open()
			}
			select {}
		}, never, false, nil, ""},
		{"ends after each answer", func(l *liar) { l.open(); l.open(); os.Exit(0) }, never, false, nil, ""},
		{"ends after a while", func(l *liar) {
			l.open()
			if os.Mkdir(os.Getenv(dirVariable)+"/begun", 0o700) == nil {
				l.next()
				os.Exit(1)
			}
		}, never, false, nil, ""},
	}
}

func crlf(a exectest.Answer) string {
	line, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	return string(line) + "\r\n"
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
