package keystore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestPINSource(t *testing.T) {
	longest := strings.Repeat("9", 1024)
	for _, test := range []struct {
		name, content string
		pin           string // "": refused
	}{
		{"no line end", "sword", "sword"},
		{"line end", "sword\n", "sword"},
		{"Windows line end", "sword\r\n", "sword"},
		{"carriage return alone", "sword\r", "sword\r"},
		{"carriage return before a Windows line end", "sword\r\r\n", "sword\r"},
		{"spaces", " sw ord \n", " sw ord "},
		{"not ASCII", "§\xff\n", "§\xff"},
		{"longest", longest, longest},
		{"byte order mark", "\ufeffsword\r\n", "sword"},
		{"empty", "", ""},
		{"only a line end", "\n", ""},
		{"only a Windows line end", "\r\n", ""},
		{"only a byte order mark", "\ufeff\n", ""},
		{"two line ends", "sword\n\n", ""},
		{"two lines", "sword\nfish", ""},
		{"NUL", "sword\x00fish", ""},
		{"NUL last", "sword\x00", ""},
		{"UTF-16", "\xff\xfe1\x002\x00", ""},
		{"too large", longest + "9", ""},
		{"much too large", strings.Repeat("9", 1<<20), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, []byte(test.content), 0o600)
			opts := keystore.Options{LookupEnv: func(name string) (string, bool) { return test.content, name == "PIN" }}
			for _, source := range []string{path, "file:" + filepath.ToSlash(path), "env:PIN"} {
				pinFunc, err := pinSource(source, opts)
				if err != nil {
					t.Fatal(err)
				}
				pin, err := pinFunc(t.Context(), keystore.Prompt{What: "PIN"})
				if string(pin) != test.pin || (err == nil) != (test.pin != "") {
					t.Errorf("%s: got %q, error %v", source, pin, err)
				}
				if err != nil && (!errors.Is(err, signer.ErrPINRequired) || signer.Hint(err) == "") {
					t.Errorf("%s: error %v, hint %q, want %v", source, err, signer.Hint(err), signer.ErrPINRequired)
				}
				if err != nil && strings.Contains(err.Error(), "sword") {
					t.Errorf("%s: error %q shows the PIN", source, err)
				}
			}
		})
	}
}

func TestPINSourceMissing(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		source string
		opts   keystore.Options
		err    error // nil: any
	}{
		{filepath.Join(dir, "missing"), keystore.Options{}, fs.ErrNotExist},
		{dir, keystore.Options{}, nil},
		{"env:UNSET", keystore.Options{LookupEnv: func(string) (string, bool) { return "", false }}, fs.ErrNotExist},
		{"env:PIN", keystore.Options{}, nil},
	} {
		pinFunc, err := pinSource(test.source, test.opts)
		if err != nil {
			t.Fatal(err)
		}
		pin, err := pinFunc(t.Context(), keystore.Prompt{What: "PIN"})
		if err == nil || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%s: got %q, error %v, want %v", test.source, pin, err, test.err)
			continue
		}
		if !strings.Contains(err.Error(), test.source) {
			t.Errorf("%s: error %q does not name the source", test.source, err)
		}
	}
}

// A user may give the PIN itself, as other programs allow.
func TestPINSourceRefuses(t *testing.T) {
	for _, source := range []string{
		"", "-", "env:", "env:PIN=s3cret", "file:", "file://host/pin", "a\nb",
		"pkcs11:token=t", "pkcs11:?pin-value=s3cret", "pass:s3cret", "PIN:s3cret", "fd:3", "exec:s3cret", "/pin\ns3cret",
	} {
		_, err := pinSource(source, keystore.Options{})
		var refErr *keystore.RefError
		if !errors.As(err, &refErr) {
			t.Errorf("%q: error %v", source, err)
			continue
		}
		if strings.Contains(err.Error()+refErr.Ref, "s3c") {
			t.Errorf("%q: error %q shows the PIN", source, err)
		}
	}
}

func TestPINSourceIsReadEachTime(t *testing.T) {
	path := write(t, []byte("1\n"), 0o600)
	env := "1"
	opts := keystore.Options{LookupEnv: func(string) (string, bool) { return env, true }}
	for _, source := range []string{path, "env:PIN"} {
		pinFunc, err := pinSource(source, opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1", "2", "3"} {
			env = want
			if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
			pin, err := pinFunc(t.Context(), keystore.Prompt{What: "PIN"})
			if err != nil || string(pin) != want {
				t.Errorf("%s: got %q, error %v, want %q", source, pin, err, want)
			}
			clear(pin) // the caller owns it
		}
	}
}

// A file does not count tries, so the password with its line end is a second
// guess.
func TestPINSourceExact(t *testing.T) {
	for content, exact := range map[string]string{
		"sword": "", "sword\n": "sword\n", "sword\r\n": "sword\r\n", "\ufeffsword": "\ufeffsword", "\ufeffsword\n": "\ufeffsword\n",
	} {
		pinFunc, err := pinSource(write(t, []byte(content), 0o600), keystore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		pin, err := pinFunc(t.Context(), keystore.Prompt{What: keystore.AskPassword, Exact: &got})
		if err != nil || string(pin) != "sword" || string(got) != exact {
			t.Errorf("%q: got %q, exactly %q, error %v", content, pin, got, err)
		}
	}
}

// The error for the last try says what was not used, and when the device allows
// another try, if that is known.
func TestRefuseLastTry(t *testing.T) {
	for prompt, want := range map[*keystore.Prompt]string{
		{What: keystore.AskPIN}:                                                 "",
		{What: keystore.AskPIN, LastTry: true}:                                  "PIN: not used, because only one try is left before the device locks: PIN required",
		{What: keystore.AskTPMKey, LastTry: true, NextTry: 1000 * time.Second}:  "TPM key password: not used, because only one try is left before the device locks (it allows another try within 16m40s): PIN required",
		{What: keystore.AskTPMKey, LastTry: false, NextTry: 1000 * time.Second}: "",
	} {
		err := prompt.RefuseLastTry()
		if err == nil && want == "" {
			continue
		}
		if err == nil || err.Error() != want || !errors.Is(err, signer.ErrPINRequired) || signer.Hint(err) != "type the "+prompt.What+": let Options.PIN ask" {
			t.Errorf("%+v: error %v, hint %q", *prompt, err, signer.Hint(err))
		}
	}
}
