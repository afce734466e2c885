package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/sharedfile"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errors.New("x"), 1},
		{context.Canceled, 1},
		{signer.ErrMismatch, 1},
		{signer.ErrClosed, 1},
		{&rolesanywhere.CertificateError{Err: errors.New("x")}, 1},
		{&UsageError{errors.New("x")}, 2},
		{&keystore.RefError{Err: errors.New("x")}, 2},
		{rolesanywhere.ErrConfig, 2},
		{sharedfile.ErrProfile, 2},
		{sharedfile.ErrFormat, 1},
		{sharedfile.ErrLocked, 5},
		{signer.ErrNotFound, 3},
		{signer.ErrAmbiguous, 3},
		{signer.ErrNoCertificate, 3},
		{fs.ErrNotExist, 3},
		{fs.ErrExist, 1},
		{&fs.PathError{Op: "stat", Path: "a.so", Err: fs.ErrNotExist}, 3},
		{signer.ErrPINRequired, 4},
		{signer.ErrPINIncorrect, 4},
		{signer.ErrPINLocked, 4},
		{fmt.Errorf("%w: %w", signer.ErrPINRequired, fs.ErrNotExist), 4},
		{signer.ErrUnavailable, 5},
		{context.DeadlineExceeded, 5},
		{errors.ErrUnsupported, 5},
		{fs.ErrPermission, 5},
		{&rolesanywhere.APIError{StatusCode: 403}, 6},
		{rolesanywhere.ErrUnreachable, 7},
	} {
		for _, err := range []error{c.err, &signer.Error{Backend: "b", Op: "open", Ref: "r", Err: c.err}} {
			code, hint := Explain(err)
			if code != c.code || hint == "" {
				t.Errorf("%v: code %d, want %d; hint %q", err, code, c.code, hint)
			}
		}
		if _, hint := Explain(signer.WithHint(c.err, "its own")); hint != "its own" {
			t.Errorf("%v: hint %q instead of its own", c.err, hint)
		}
	}
}

// Hints of libraries name fields of Go types. The command line replaces them
// with its flags.
func TestHintsNameFlags(t *testing.T) {
	const own, want = "it is Config.Region, or let Options.PIN ask for TransportConfig.NoProxy", "it is --region, or --pin-source prompt for --with-proxy=false"
	if _, hint := Explain(signer.WithHint(errors.New("x"), own)); hint != want {
		t.Errorf("hint %q, want %q", hint, want)
	}
	for _, handler := range []func(io.Writer) slog.Handler{
		func(w io.Writer) slog.Handler { return &LogHandler{W: w} },
		func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: HintAttr})
		},
	} {
		var b strings.Builder
		slog.New(handler(&b)).Warn("Config.Region", "other", "Config.Region", "hint", own)
		if text := b.String(); !strings.Contains(text, want) || strings.Count(text, "Config.Region") != 2 {
			t.Errorf("log %q", text)
		}
	}
}

// References and file names in hints are not changed.
func TestHintsKeepReferences(t *testing.T) {
	for own, want := range map[string]string{
		"Config.Region":                 "--region",
		"(Config.Region)":               "(--region)",
		"Config.FIPS.":                  "--fips (AWS_USE_FIPS_ENDPOINT).",
		"use Config.PIN: or Config.PIN": "use --pin-source file:PATH: or --pin-source file:PATH",
		"name one of: pkcs11:object=Config.Region;token=Config.PIN":  "name one of: 'pkcs11:object=Config.Region;token=Config.PIN'",
		"run holdfast list --in 'pkcs11:object=Config.Region'":       "",
		"see Config.Region.pem, Config.Region/a, /a/Config.Region":   "",
		"see Config.Regions, MyConfig.Region and file:Config.Region": "",
		"( Config.": "",
	} {
		if want == "" {
			want = own
		}
		if _, hint := Explain(signer.WithHint(errors.New("x"), own)); hint != want {
			t.Errorf("hint %q, want %q", hint, want)
		}
	}
}

// Only the hint for a relative path explains where it starts.
func TestHintOfAbsentFile(t *testing.T) {
	for path, relative := range map[string]bool{"a.so": true, "./a/b.so": true, t.TempDir() + "/a.so": false} {
		for _, err := range []error{
			fmt.Errorf("module: %w", &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}),
			fmt.Errorf("%s: %w", path, fs.ErrNotExist),
		} {
			if _, hint := Explain(err); strings.Contains(hint, "relative") != relative {
				t.Errorf("%v: hint %q", err, hint)
			}
		}
	}
}

// A word of letters is replaced only where a message has the text of a user.
func TestRedactKeepsProse(t *testing.T) {
	args := []string{"--pin-source", "pass:secret", "pass:file", "APP_PIN=S3cret", "--pkcs8-password=open"}
	for message, want := range map[string]string{
		"or, for a sealed secret, tpm:path=PATH": "or, for a sealed secret, tpm:path=PATH",
		"neither file:PATH nor env:NAME":         "neither file:PATH nor env:NAME",
		`open secret: no such file`:              `open …: no such file`,
		`exec: "secret" or S3cret`:               `exec: "…" or …`,
		`role "open": open it`:                   `role "…": open it`,
	} {
		if got := Redact(message, args); got != want {
			t.Errorf("%s: got %s, want %s", message, got, want)
		}
	}
}

func TestHintOfUnexpandedPath(t *testing.T) {
	for path, want := range map[string]string{"/cfg/~/a.crt": "such as", "$KEY": "env:KEY", "~/a.crt": "such as", "a.crt": "relative path", "$HOME/a.crt": "such as",
		"${KEY}": "whole path", `%USERPROFILE%\a.crt`: "whole path", `a.key\`: "one line", "slot_0-id_01": "pkcs11:token="} {
		_, hint := Explain(fmt.Errorf("open %s: %w", path, fs.ErrNotExist))
		if !strings.Contains(hint, want) || strings.Contains(hint, "/~/") || want == "whole path" && strings.Contains(hint, path) {
			t.Errorf("%s: hint %q", path, hint)
		}
	}
	for ref, want := range map[string]string{"'a.crt'": "quotes", `"a.crt"`: "quotes", "object=app": "pkcs11:object=app", "label=app;id=%01": "pkcs11:object=app;id=%01"} {
		if _, hint := Explain(&signer.Error{Backend: "file", Op: "open", Ref: ref, Err: fs.ErrNotExist}); !strings.Contains(hint, want) {
			t.Errorf("%s: hint %q", ref, hint)
		}
	}
}
