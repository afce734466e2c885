package tpm

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func refOf(t testing.TB, s string) keystore.Ref {
	t.Helper()
	ref, err := keystore.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// callPIN calls a PINFunc, which may be nil.
func callPIN(t *testing.T, ask keystore.PINFunc, p keystore.Prompt) (string, error) {
	t.Helper()
	if ask == nil {
		return "none", nil
	}
	pin, err := ask(t.Context(), p)
	return string(pin), err
}

func TestConfigFor(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.ToSlash(path)
	}
	key, odd, pin := write("key.pem", "key"), write("a;b%c.pem", "odd"), write("pin", "from file\n")
	log := slog.New(slog.DiscardHandler)
	const block = "-----BEGIN TSS2 PRIVATE KEY-----\nMAA=\n-----END TSS2 PRIVATE KEY-----\n"
	call := keystore.Call{Options: keystore.Options{
		PIN:    func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("asked"), nil },
		Logger: log,
		LookupEnv: func(name string) (string, bool) {
			v, ok := map[string]string{"TPM_DEVICE": "/dev/env", "PIN": "from env", "KEY": "in env", "BASE64": base64.StdEncoding.EncodeToString([]byte(block))}[name]
			return v, ok
		},
	}}
	type want struct {
		pem, device, pin, parentPIN string
		handle                      Handle
	}
	file := want{pem: "key", device: "/dev/env", pin: "asked", parentPIN: "none"}
	persistent := want{handle: 0x81010002, device: "/dev/env", pin: "asked", parentPIN: "none"}
	with := func(w want, change func(*want)) want { change(&w); return w }
	for _, c := range []struct {
		ref  string
		want want
	}{
		{key, file},
		{"file:" + key, file},
		{"env:KEY", with(file, func(w *want) { w.pem = "in env" })},
		{"env:BASE64", with(file, func(w *want) { w.pem = block })},
		{"tpm:path=" + key, file},
		{"TPM:path=" + key, file},
		{"tpm:" + keystore.FormatAttribute("path", odd), with(file, func(w *want) { w.pem = "odd" })},
		{"tpm:path=" + key + ";device=/dev/other", with(file, func(w *want) { w.device = "/dev/other" })},
		{"tpm:device=/dev/a%3Bb;path=" + key, with(file, func(w *want) { w.device = "/dev/a;b" })},
		{"tpm:path=" + key + ";pin-value=a%3Bb", with(file, func(w *want) { w.pin = "a;b" })},
		{"tpm:path=" + key + ";pin-source=file:" + pin, with(file, func(w *want) { w.pin = "from file" })},
		{"tpm:path=" + key + ";pin-source=" + pin, with(file, func(w *want) { w.pin = "from file" })},
		{"tpm:path=" + key + ";pin-source=env:PIN", with(file, func(w *want) { w.pin = "from env" })},
		{"tpm:path=" + key + ";parent-auth-source=env:PIN", with(file, func(w *want) { w.parentPIN = "from env" })},

		{"tpm:handle=0x81010002", persistent},
		{"tpm:handle=0X81010002", persistent},
		{"tpm:handle=2164326402", persistent},
		{"tpm:handle=0x81000000", with(persistent, func(w *want) { w.handle = 0x81000000 })},
		{"tpm:handle=0x81ffffff", with(persistent, func(w *want) { w.handle = 0x81ffffff })},
		{"tpm:handle=0x81FFFFFF", with(persistent, func(w *want) { w.handle = 0x81ffffff })},
		{"tpm:handle=0x81010002;pin-value=x;device=/dev/other", with(persistent, func(w *want) { w.pin, w.device = "x", "/dev/other" })},
		{"handle:81010002", persistent},
		{"handle:0x81010002", persistent},
		{"handle:0X81010002", persistent},
		{"HANDLE:0x81010002", persistent},
		{"handle:81FFabcd", with(persistent, func(w *want) { w.handle = 0x81ffabcd })},
	} {
		ref := refOf(t, c.ref)
		cfg, err := configFor(t.Context(), ref, call)
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		got := want{pem: string(cfg.PEM), device: cfg.Device, handle: cfg.Handle}
		var errs [2]error
		got.pin, errs[0] = callPIN(t, cfg.PIN, keystore.Prompt{What: keystore.AskTPMKey})
		got.parentPIN, errs[1] = callPIN(t, cfg.ParentPIN, keystore.Prompt{What: keystore.AskTPMParent})
		if got != c.want || errors.Join(errs[:]...) != nil || cfg.Ref != ref || cfg.Logger != log {
			t.Errorf("%s: got %+v, errors %v, want %+v", c.ref, got, errs, c.want)
		}
	}
}

// The reference of a key contains its handle or file, and the PIN sources, but
// no password.
func TestReference(t *testing.T) {
	const handle = 0x81010002
	for _, c := range []struct {
		ref    string // "": none
		handle Handle
		device string
		want   string // "": none
	}{
		{"", 0, "", ""},
		{"", 0, "/dev/a", ""},
		{"", handle, "", "tpm:handle=0x81010002"},
		{"", handle, "/dev/a;b", "tpm:handle=0x81010002;device=/dev/a%3Bb"},
		{"handle:81010002", handle, "", "tpm:handle=0x81010002"},
		{"key.pem", handle, "", "tpm:handle=0x81010002"}, // Config.Ref is only a name
		{"tpm:handle=2164326402;pin-value=s3cret", handle, "/dev/env", "tpm:handle=0x81010002;device=/dev/env"},
		{"tpm:device=/dev/a;handle=0x81010002;pin-source=env:PIN", handle, "/dev/a", "tpm:handle=0x81010002;device=/dev/a;pin-source=env:PIN"},
		{"key.pem", 0, "/dev/a", "key.pem"},
		{"env:KEY", 0, "", "env:KEY"},
		{"-", 0, "", "-"},
		{"tpm:path=a%3Bb.pem;pin-value=s3cret", 0, "", "tpm:path=a%3Bb.pem"},
		{"tpm:path=key.pem;parent=0x81000001;pcrs=sha256:7;parent-auth-source=env:PIN", 0, "/dev/a", "tpm:path=key.pem;device=/dev/a;parent-auth-source=env:PIN"},
	} {
		cfg := Config{Handle: c.handle, Device: c.device}
		if c.ref != "" {
			cfg.Ref = refOf(t, c.ref)
		}
		got := cfg.reference()
		if got.IsZero() != (c.want == "") || got.String() != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		want := cfg.Ref
		switch {
		case c.ref == "" && c.handle == 0:
			want = unnamedRef
		case c.ref == "":
			want = got
		}
		if name := cfg.name(); name != want {
			t.Errorf("%+v: name %s, want %s", c, name, want)
		}
	}
}

// Without Options, the Config has no device and no PIN.
func TestConfigForWithoutCall(t *testing.T) {
	cfg, err := configFor(t.Context(), refOf(t, "tpm:handle=0x81010002"), keystore.Call{})
	if err != nil || cfg.Device != "" || cfg.PIN != nil || cfg.ParentPIN != nil || cfg.PEM != nil {
		t.Errorf("got %+v, error %v", cfg, err)
	}
}

func TestConfigForErrors(t *testing.T) {
	call := keystore.Call{Options: keystore.Options{LookupEnv: func(string) (string, bool) { return "", false }}}
	for _, c := range []struct{ ref, culprit string }{
		{"tpm:", ""},
		{"tpm:key.pem", ""},
		{"tpm:path=", "path"},
		{"tpm:device=/dev/tpmrm0", "path="},
		{"tpm:path=key.pem;handle=0x81010002", "path="},
		{"tpm:path=key.pem;path=key.pem", "path"},
		{"tpm:path=key.pem;objekt=a", "objekt"},
		{"tpm:path=key.pem;auth-source=a", "auth-source"},
		{"tpm:path=key.pem;parent=0x81000001", "parent"},
		{"tpm:path=key.pem;pcrs=sha256:7", "pcrs"},
		{"tpm:handle=0x81010002;pcrs=sha256:7", "pcrs"},
		{"tpm:handle=81010002", "without 0x"},
		{"tpm:handle=8101000a", "without 0x"},
		{"tpm:handle=key", "key"},
		{"tpm:handle=-1", "-1"},
		{"tpm:handle=0", "0"},
		{"tpm:handle=0x80000000", "0x80000000"},
		{"tpm:handle=0x40000001", "0x40000001"},
		{"tpm:handle=0x01000001", "0x01000001"},
		{"tpm:handle=0x82000000", "0x82000000"},
		{"tpm:handle=0x181010002", "0x181010002"},
		{"tpm:handle=0x81_01_00_02", "0x81_01_00_02"},
		{"tpm:handle= 0x81010002", "0x81010002"},
		{"tpm:handle=0b10000001000000010000000000000010", "0b1"},
		{"tpm:handle=0o20100200002", "0o2"},
		{"tpm:handle=020100200002", "020100200002"}, // octal in C
		{"tpm:handle=%zz", "handle"},
		{"handle:", "0x"},
		{"handle:0x", "0x"},
		{"handle:key", "key"},
		{"handle:80000000", "80000000"},
		{"handle:0x40000001", "40000001"},
		{"handle:0x0x81010002", "0x0x"},
		{"handle:81_01_00_02", "81_01"},
		{"handle:81010002;device=/dev/tpm0", "device"},
		{"handle:181010002", "181010002"},
		{"tpm:path=key.pem;pin-source=env:PIN;pin-value=s3cret", "pin-source and pin-value"},
		{"tpm:path=key.pem;pin-value=s3cret;pin-source=env:PIN", "pin-source and pin-value"},
		{"tpm:path=key.pem;pin-source=pass:s3cret", "pass"},
		{"tpm:path=key.pem;pin-source=tpm:path=s3cret", "pin-source"},
		{"tpm:path=key.pem;pin-source=prompt:", "pin-source"},
		{"tpm:path=key.pem;pin-source=-", "pin-source"},
		{"tpm:path=key.pem;parent-auth-source=pass:s3cret", "pass"},
	} {
		cfg, err := configFor(t.Context(), refOf(t, c.ref), call)
		var refErr *keystore.RefError
		if !errors.As(err, &refErr) || !strings.Contains(err.Error(), c.culprit) {
			t.Errorf("%s: got handle 0x%08x, error %v", c.ref, uint32(cfg.Handle), err)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v shows a secret", c.ref, err)
		}
	}
}

// A pin-value is not used for the last try.
func TestPINValueNotUsedForLastTry(t *testing.T) {
	cfg, err := configFor(t.Context(), refOf(t, "tpm:handle=0x81010002;pin-value=s3cret"), keystore.Call{})
	if err != nil {
		t.Fatal(err)
	}
	for last, want := range map[bool]error{false: nil, true: signer.ErrPINRequired} {
		pin, err := cfg.PIN(t.Context(), keystore.Prompt{What: keystore.AskTPMKey, LastTry: last})
		if !errors.Is(err, want) || err == nil && !bytes.Equal(pin, []byte("s3cret")) {
			t.Errorf("last try %t: error %v", last, err)
		}
		clear(pin) // the caller owns it
	}
}
