package keys

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// fakeBackend is a Backend that lists entries and returns err.
type fakeBackend struct {
	name    string
	entries []keystore.Entry
	err     error
}

func (s fakeBackend) Name() string      { return s.name }
func (s fakeBackend) Schemes() []string { return []string{s.name} }
func (s fakeBackend) Open(context.Context, keystore.Ref, keystore.Call) (signer.Signer, error) {
	return nil, errors.ErrUnsupported
}
func (s fakeBackend) List(context.Context, keystore.Ref, keystore.Call) ([]keystore.Entry, error) {
	return s.entries, s.err
}

// --json always prints an array. A store that fails does not hide the entries of
// the others, and the exit code reports the failure to scripts.
func TestListJSON(t *testing.T) {
	broken, away := errors.New("is broken"), fmt.Errorf("is away: %w", signer.ErrUnavailable)
	full := fakeBackend{name: "full", entries: []keystore.Entry{{Ref: keystore.Ref{Scheme: "full", Rest: "a"}, Kind: keystore.KeyEntry}}}
	for _, test := range []struct {
		name           string
		backends       []keystore.Backend
		code           int
		stdout, stderr string
	}{
		{"no kind of store", nil, 0, "[]\n", ""},
		{"nothing", []keystore.Backend{fakeBackend{name: "empty"}}, 0, "[]\n", ""},
		{"something", []keystore.Backend{fakeBackend{name: "empty"}, full}, 0, `[{"kind":"key","reference":"full:a"}]` + "\n", ""},
		{"control characters", []keystore.Backend{fakeBackend{name: "full", entries: []keystore.Entry{{
			Ref: full.entries[0].Ref, Kind: keystore.CertificateEntry,
			Certificate: &x509.Certificate{PublicKey: signertest.Key(t, "p256").Public(), Subject: pkix.Name{CommonName: "é\u202e\u009b"}},
		}}}}, 0, `[{"kind":"certificate","reference":"full:a","key":"ECDSA P-256","subject":"CN=é\u202e\u009b","not_after":"0001-01-01T00:00:00Z"}]` + "\n", ""},
		{"one is not there", []keystore.Backend{fakeBackend{name: "away", err: away}, full}, 0, `[{"kind":"key","reference":"full:a"}]` + "\n",
			"holdfast: not listed: away: list away:: is away: device is not available\n"},
		{"one fails", []keystore.Backend{fakeBackend{name: "broken", err: broken}, full}, front.ExitOther, `[{"kind":"key","reference":"full:a"}]` + "\n",
			"holdfast: broken: list broken:: is broken\nhint: docs/errors.md lists the kinds of errors and their causes\n"},
		{"one fails and the other is empty", []keystore.Backend{fakeBackend{name: "broken", err: broken}, fakeBackend{name: "empty"}}, front.ExitOther, "",
			"holdfast: broken: list broken:: is broken\nhint: docs/errors.md lists the kinds of errors and their causes\n"},
		{"one lists a part", []keystore.Backend{fakeBackend{name: "empty"}, fakeBackend{"part", full.entries, away}}, front.ExitUnavailable, `[{"kind":"key","reference":"full:a"}]` + "\n",
			"holdfast: part: list part:: is away: device is not available\nhint: check that the device is connected and that no other program is using it\n"},
		{"one lists a part, one is not there", []keystore.Backend{fakeBackend{name: "away", err: away}, fakeBackend{"part", full.entries, broken}}, front.ExitOther, `[{"kind":"key","reference":"full:a"}]` + "\n",
			"holdfast: not listed: away: list away:: is away: device is not available\nholdfast: part: list part:: is broken\nhint: docs/errors.md lists the kinds of errors and their causes\n"},
		{"all fail", []keystore.Backend{fakeBackend{name: "broken", err: broken}}, front.ExitOther, "",
			"holdfast: broken: list broken:: is broken\nhint: docs/errors.md lists the kinds of errors and their causes\n"},
		{"none is there", []keystore.Backend{fakeBackend{name: "away", err: away}}, front.ExitUnavailable, "",
			"holdfast: away: list away:: is away: device is not available\nhint: check that the device is connected and that no other program is using it\n"},
	} {
		var stdout, stderr bytes.Buffer
		a := front.App{
			Stdout: &stdout, Stderr: &stderr, LookupEnv: func(string) (string, bool) { return "", false },
			Store: keystore.New(test.backends...), Commands: []front.Command{{Name: "list", New: List}},
		}
		code := a.Run(t.Context(), []string{"list", "--json"})
		if code != test.code || stdout.String() != test.stdout || stderr.String() != test.stderr {
			t.Errorf("%s: exit code %d, %q, %q", test.name, code, &stdout, &stderr)
		}
	}
}

// Without --json, the entries that were read are printed, too.
func TestListPart(t *testing.T) {
	part := fakeBackend{"part", []keystore.Entry{{Ref: keystore.Ref{Scheme: "part", Rest: "a"}, Kind: keystore.KeyEntry}}, fmt.Errorf("token b: %w", signer.ErrPINIncorrect)}
	var stdout, stderr bytes.Buffer
	a := front.App{
		Stdout: &stdout, Stderr: &stderr, LookupEnv: func(string) (string, bool) { return "", false },
		Store: keystore.New(part), Commands: []front.Command{{Name: "list", New: List}},
	}
	code := a.Run(t.Context(), []string{"list", "--in", "part:"})
	if code != front.ExitPIN || !strings.Contains(stdout.String(), "\n  part:a\n") || !strings.Contains(stderr.String(), "token b: PIN incorrect") {
		t.Errorf("exit code %d, %q, %q", code, &stdout, &stderr)
	}
}

// variableBackend is a fakeBackend whose device a variable names.
type variableBackend struct {
	fakeBackend
	variable string
}

func (b variableBackend) List(_ context.Context, _ keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	_, _ = call.LookupEnv(b.variable)
	return nil, b.err
}

// A store that a variable names must be there, unless every desktop sets the variable. One
// that only a variable can name is not reported without it.
func TestListOfAVariable(t *testing.T) {
	for _, test := range []struct {
		variable string
		set      bool
		code     int
		reported bool
	}{
		{"TPM_DEVICE", true, front.ExitUnavailable, true},
		{"TPM_DEVICE", false, 0, true},
		{"SSH_AUTH_SOCK", true, 0, true},
		{"SSH_AUTH_SOCK", false, 0, false},
		{"SPIFFE_ENDPOINT_SOCKET", true, front.ExitUnavailable, true},
		{"SPIFFE_ENDPOINT_SOCKET", false, 0, false},
	} {
		var stdout, stderr bytes.Buffer
		away := fakeBackend{name: "away", err: signer.ErrUnavailable}
		lookup := func(name string) (string, bool) {
			if name == test.variable && test.set {
				return "/none", true
			}
			return "", false
		}
		a := front.App{
			Stdout: &stdout, Stderr: &stderr, LookupEnv: lookup,
			Store: keystore.New(variableBackend{away, test.variable}, fakeBackend{name: "empty"}), Commands: []front.Command{{Name: "list", New: List}},
		}
		got := a.Run(t.Context(), []string{"list", "--json"})
		if reported := strings.Contains(stderr.String(), "away"); got != test.code || reported != test.reported {
			t.Errorf("%+v: exit code %d, %q, %q", test, got, &stdout, &stderr)
		}
	}
}

// moduleBackend is a fakeBackend with the attribute module-path.
type moduleBackend struct{ fakeBackend }

func (moduleBackend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if name != "module-path" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value), nil
}

func (moduleBackend) List(_ context.Context, ref keystore.Ref, _ keystore.Call) ([]keystore.Entry, error) {
	return []keystore.Entry{{Ref: ref, Kind: keystore.TokenEntry}}, nil
}

// --pkcs11-lib applies with and without --in.
func TestListOfAModule(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"list", "--in", "mo:"}, {"list", "--in", ""}} {
		var stdout, stderr bytes.Buffer
		a := front.App{
			Stdout: &stdout, Stderr: &stderr, LookupEnv: func(string) (string, bool) { return "", false },
			Store: keystore.New(moduleBackend{fakeBackend{name: "mo"}}), Commands: []front.Command{{Name: "list", New: List}},
		}
		code := a.Run(t.Context(), append(args, "--pkcs11-lib", "/m.so"))
		if code != 0 || !strings.Contains(stdout.String(), "module-path=/m.so") {
			t.Errorf("%q: exit code %d, %s%s", args, code, &stdout, &stderr)
		}
	}
}

// If no store can be read, or the user named the store, the error is not only a
// note. Files and the stores of other systems do not count as read.
func TestListOfAnAbsentStore(t *testing.T) {
	away := fmt.Errorf("is away: %w", signer.ErrUnavailable)
	files, full := fakeBackend{name: "file"}, fakeBackend{name: "full", entries: []keystore.Entry{{Ref: keystore.Ref{Scheme: "full", Rest: "a"}, Kind: keystore.KeyEntry}}}
	module := absentModule{moduleBackend{fakeBackend{name: "pkcs11", err: away}}}
	for _, test := range []struct {
		name     string
		backends []keystore.Backend
		device   string
		args     []string
		code     int
	}{
		{"files", []keystore.Backend{files, module}, "", nil, front.ExitUnavailable},
		{"another system", []keystore.Backend{otherSystem(), module}, "", nil, front.ExitUnavailable},
		{"a default module", []keystore.Backend{module, full}, "", nil, 0},
		{"a named module", []keystore.Backend{module, full}, "", []string{"--pkcs11-lib", "/m.so"}, front.ExitUnavailable},
		{"a default TPM", []keystore.Backend{absentTPM{fakeBackend{name: "tpm", err: away}}, full}, "", nil, 0},
		{"a named TPM", []keystore.Backend{absentTPM{fakeBackend{name: "tpm", err: away}}, full}, "/dev/none", nil, front.ExitUnavailable},
		{"another store than the named TPM", []keystore.Backend{module, full}, "/dev/none", nil, 0},
	} {
		var stdout, stderr bytes.Buffer
		a := front.App{
			Stdout: &stdout, Stderr: &stderr, LookupEnv: func(name string) (string, bool) { return test.device, name == "TPM_DEVICE" },
			Store: keystore.New(test.backends...), Commands: []front.Command{{Name: "list", New: List}},
		}
		code := a.Run(t.Context(), append([]string{"list", "--json"}, test.args...))
		if code != test.code || !strings.Contains(stderr.String(), "is away") || strings.Contains(stdout.String(), "full:a") != (test.backends[1].Name() == "full") {
			t.Errorf("%s: exit code %d, %q, %q", test.name, code, &stdout, &stderr)
		}
	}
}

type absentModule struct{ moduleBackend }

func (m absentModule) List(context.Context, keystore.Ref, keystore.Call) ([]keystore.Entry, error) {
	return nil, m.err
}

// absentTPM is a fakeBackend whose device a variable can name.
type absentTPM struct{ fakeBackend }

func (d absentTPM) List(_ context.Context, _ keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	call.LookupEnv("TPM_DEVICE")
	return nil, d.err
}

// otherSystem returns a backend for the key store of another system.
func otherSystem() fakeBackend {
	name := "winstore"
	if runtime.GOOS == "windows" {
		name = "keychain"
	}
	return fakeBackend{name: name, err: errors.ErrUnsupported}
}
