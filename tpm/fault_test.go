package tpm

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// A fault replaces the execution of one command.
type fault struct {
	name string
	do   func(command []byte, send func([]byte) ([]byte, error)) ([]byte, error)
	// recovers means that the key recovers from the fault without an error.
	recovers bool
	// stateUnknown means that the key does not know what the TPM loaded.
	stateUnknown bool
	// errs are the possible errors.
	errs []error
}

func responseWithCode(rc tpm2.TPMRC) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, uint32(rc))
}

func respondWith(rc tpm2.TPMRC, over bool, kinds ...error) fault {
	return fault{name: fmt.Sprintf("TPM_RC 0x%03x", uint32(rc)), recovers: over, errs: kinds, do: func([]byte, func([]byte) ([]byte, error)) ([]byte, error) {
		return responseWithCode(rc), nil
	}}
}

// corrupt returns a fault that changes the response to an executed command.
func corrupt(name string, over bool, f func([]byte) []byte) fault {
	return fault{name: name, recovers: over, stateUnknown: !over, errs: []error{signer.ErrUnavailable}, do: func(command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
		response, err := send(command)
		if err != nil {
			return nil, err
		}
		return f(response), nil
	}}
}

var faults = []fault{
	{name: "command lost", recovers: true, errs: []error{signer.ErrUnavailable}, do: func([]byte, func([]byte) ([]byte, error)) ([]byte, error) { return nil, io.ErrClosedPipe }},
	{name: "response lost", recovers: true, errs: []error{signer.ErrUnavailable}, do: func(command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
		_, _ = send(command)
		return nil, io.ErrUnexpectedEOF
	}},
	corrupt("empty response", true, func([]byte) []byte { return nil }),
	corrupt("part of the header", true, func(r []byte) []byte { return r[:9] }),
	corrupt("one byte missing", true, func(r []byte) []byte { return r[:len(r)-1] }),
	corrupt("one byte too many", true, func(r []byte) []byte { return append(r, 0) }),
	corrupt("size 0", true, func(r []byte) []byte { copy(r[2:], []byte{0, 0, 0, 0}); return r }),
	corrupt("huge size", true, func(r []byte) []byte { copy(r[2:], []byte{0xff, 0xff, 0xff, 0xff}); return r }),
	corrupt("invalid tag", true, func(r []byte) []byte { r[0] = 0x7f; return r }),
	corrupt("text", true, func([]byte) []byte { return []byte("220 mail.example.com ESMTP\r\n") }),
	corrupt("inverted body", false, func(r []byte) []byte {
		for i := range r[headerSize:] {
			r[headerSize+i] ^= 0xff
		}
		return r
	}),
	corrupt("only a header", false, func(r []byte) []byte { return append(r[:2:2], 0, 0, 0, headerSize, 0, 0, 0, 0) }),
	respondWith(tpm2.TPMRCInitialize, true, signer.ErrUnavailable),
	respondWith(tpm2.TPMRCReferenceH0, true, signer.ErrUnavailable),
	respondWith(tpm2.TPMRCReferenceS0, true, signer.ErrUnavailable),
	respondWith(tpm2.TPMRCHandle, true, signer.ErrNotFound),
	respondWith(tpm2.TPMRCObjectMemory, true, signer.ErrUnavailable),
	respondWith(tpm2.TPMRCSessionMemory, true, signer.ErrUnavailable),
	respondWith(tpm2.TPMRCFailure, false, signer.ErrUnavailable),
	respondWith(0x98e, false, signer.ErrPINIncorrect, signer.ErrPINRequired), // TPM_RC_AUTH_FAIL, session 1
	respondWith(0x9a2, false, signer.ErrPINIncorrect, signer.ErrPINRequired), // TPM_RC_BAD_AUTH, session 1
	respondWith(tpm2.TPMRCLockout, false, signer.ErrPINLocked),
}

// busWithFault returns a bus on which the n-th command has a fault.
func busWithFault(n int, f fault, managed bool) *bus {
	return &bus{managed: managed, intercept: func(i int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
		if i != n {
			return send(command)
		}
		return f.do(command, send)
	}}
}

// maxSent limits the number of commands of one Open, two Signs and Close, no
// matter how the TPM responds.
const maxSent = 80

func TestFaults(t *testing.T) {
	emulator := newTPM(t)
	device := CreateConfig{Device: emulator.Path}
	plain := makeKey(t, device)
	device.PIN = fixedPIN(keyPassword)
	secret := makeKey(t, device)
	device.PCRs = []PCRs{{crypto.SHA256, []uint{7}}}
	bound := makeKey(t, device)
	makePersistent(t, emulator, 0x81010002, secret)

	for _, test := range []struct {
		name string
		cfg  Config
	}{
		{"file", Config{PEM: plain}},
		{"file with a password", Config{PEM: secret, PIN: fixedPIN(keyPassword)}},
		{"handle with a password", Config{Handle: 0x81010002, PIN: fixedPIN(keyPassword)}},
		{"file bound to PCRs and a password", Config{PEM: bound, PIN: fixedPIN(keyPassword)}},
	} {
		test.cfg.Device = emulator.Path
		for _, managed := range []bool{false, true} {
			if managed && test.cfg.PEM == nil {
				continue // managed affects only key files
			}
			for _, f := range faults {
				t.Run(fmt.Sprintf("%s/managed %v/%s", test.name, managed, f.name), inBubble(func(t *testing.T) {
					for n := 1; ; n++ {
						b := busWithFault(n, f, managed)
						if !oneFault(t, emulator.Path, test.cfg, f, n, b) {
							return
						}
					}
				}))
			}
		}
	}
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("the TPM counted %d incorrect passwords", n)
	}
}

// oneFault uses a key with a fault at the n-th command. It returns false if
// there are fewer commands.
func oneFault(t *testing.T, path string, cfg Config, f fault, n int, b *bus) bool {
	t.Helper()
	var errs []error
	k, err := open(t.Context(), cfg, b.dial)
	errs = append(errs, err)
	if err == nil {
		for _, message := range []string{"one", "two"} {
			errs = append(errs, trySign(k, message))
		}
		if err := k.Close(); err != nil {
			t.Errorf("command %d: Close: %v", n, err)
		}
	}
	synctest.Wait()
	opens, closes := b.state()
	sent := b.commands()
	if len(sent) < n {
		return false
	}
	what := fmt.Sprintf("command %d, %s", n, sent[n-1])
	if opens != closes {
		t.Errorf("%s: %d devices opened, %d closed", what, opens, closes)
	}
	if len(sent) > maxSent {
		t.Errorf("%s: %d commands were sent", what, len(sent))
	}
	for i, err := range errs {
		known := slices.ContainsFunc(f.errs, func(kind error) bool { return errors.Is(err, kind) })
		switch {
		case err == nil:
		case errors.Is(err, errWrongSignature):
			t.Errorf("%s: use %d: %v", what, i, err)
		case f.recovers && (cfg.Handle == 0 || n > 1): // the first command for a handle is not retried
			t.Errorf("%s: use %d: %v, want the key to recover", what, i, err)
		case !known:
			t.Errorf("%s: use %d: %v, want one of %v", what, i, err, f.errs)
		}
	}
	d, err := dialer(dial).open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	// An object stays in the TPM if TPM2_FlushContext fails, or if the
	// response does not contain the handle.
	keeps := f.stateUnknown || sent[n-1] == "FlushContext" && slices.Contains(sent[:n-1], "Sign")
	if left := loadedHandles(t, d); len(left) > 0 && !b.managed && !keeps {
		t.Errorf("%s: left in the TPM: %08x", what, left)
	}
	flushAll(d)
	return true
}

// A fault can affect all commands from one point on.
func TestLastingFaults(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	cfg := Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}
	for _, f := range append(faults, respondWith(tpm2.TPMRCRetry, false, signer.ErrUnavailable), respondWith(tpm2.TPMRCTesting, false, signer.ErrUnavailable)) {
		for _, managed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/managed %v", f.name, managed), inBubble(func(t *testing.T) {
				for _, from := range []int{1, 2, 5, 6} { // 6 is the first Sign
					b := &bus{managed: managed, intercept: func(i int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
						if i < from {
							return send(command)
						}
						return f.do(bytes.Clone(command), send)
					}}
					k, err := open(t.Context(), cfg, b.dial)
					if err == nil {
						err = trySign(k, "lasting")
						_ = k.Close()
					}
					opens, closes := b.state()
					if opens != closes {
						t.Errorf("from command %d on: %d devices opened, %d closed", from, opens, closes)
					}
					if managed && count(b.commands(), "Startup") > 0 {
						t.Error("sent TPM2_Startup to a managed TPM")
					}
					if opens > 7 { // for the lockout and the key, three times, and for the lockout at the end
						t.Errorf("from command %d on: %d devices opened", from, opens)
					}
					if !slices.ContainsFunc(f.errs, func(kind error) bool { return errors.Is(err, kind) }) {
						t.Errorf("from command %d on: %v, want one of %v", from, err, f.errs)
					}
				}
			}))
		}
	}
}

// A command is retried while the TPM is busy.
func TestBusyTPM(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	cfg := Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate} {
		t.Run(fmt.Sprintf("0x%03x", uint32(rc)), inBubble(func(t *testing.T) {
			b := &bus{intercept: func(i int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
				if i%4 != 0 {
					return responseWithCode(rc), nil
				}
				return send(command)
			}}
			k := mustOpen(t, cfg, b.dial)
			mustSign(t, k)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			if opens, closes := b.state(); opens != 2 || closes != 2 {
				t.Errorf("%d devices opened, %d closed, want 2: to read the lockout and to sign", opens, closes)
			}
		}))
	}
	checkEmpty(t, emulator)
}
