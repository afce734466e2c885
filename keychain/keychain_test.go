package keychain

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var (
	_ keystore.Lister            = Backend{}
	_ keystore.Adviser           = Backend{}
	_ keystore.CertificateReader = Backend{}
	_ signer.SchemeLimiter       = (*Key)(nil)
	_ signer.SaltLimiter         = (*Key)(nil)
)

// calls are the methods of Backend that open a reference.
var calls = map[string]func(t *testing.T, ref keystore.Ref) error{
	"Open": func(t *testing.T, ref keystore.Ref) error {
		s, err := Backend{}.Open(t.Context(), ref, keystore.Call{})
		if s != nil {
			t.Errorf("Open returns %v together with %v", s, err)
		}
		return err
	},
	"Certificates": func(t *testing.T, ref keystore.Ref) error {
		_, err := Backend{}.Certificates(t.Context(), ref, keystore.Call{})
		return err
	},
	"List": func(t *testing.T, ref keystore.Ref) error {
		_, err := Backend{}.List(t.Context(), ref, keystore.Call{})
		return err
	},
}

func TestBadReferences(t *testing.T) {
	for _, rest := range []string{
		"app", "label", "label=", "=app", "name=app", "object=app", "label=a;label=b", "label=%zz",
		"serial=x", "sha256=00", "subject=app", "label=a;", "newest=perhaps", "label=%00",
	} {
		for name, call := range calls {
			err := call(t, keystore.Ref{Scheme: scheme, Rest: rest})
			var refErr *keystore.RefError
			if !errors.As(err, &refErr) {
				t.Errorf("%s %q: error %v", name, rest, err)
			}
		}
	}
}

// The backend neither creates keys nor installs certificates. The hint names
// programs that do.
func TestGenerateAndInstallAreUnsupported(t *testing.T) {
	store, ref := keystore.New(Backend{}), keystore.Ref{Scheme: scheme, Rest: "label=app"}
	_, generate := store.Generate(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, keystore.Options{})
	_, install := store.Install(t.Context(), ref, keystore.Installation{}, keystore.Options{})
	for name, err := range map[string]error{
		"Generate": generate,
		"Install":  install,
	} {
		var own *signer.Error
		if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &own) || own.Backend != "keychain" || !strings.Contains(signer.Hint(err), "sc_auth") {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
	}
}

func TestUnsupportedOnOtherSystems(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("macOS has keychains")
	}
	for name, call := range calls {
		err := call(t, keystore.Ref{Scheme: scheme, Rest: "label=app"})
		if !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
	}
}

// Only macOS may link the binding: on Linux, it would make a static program
// dynamic.
func TestOnlyMacOSLinksTheBinding(t *testing.T) {
	for goos, want := range map[string]bool{"linux": false, "windows": false, "freebsd": false, "darwin": true} {
		for _, cgo := range []string{"0", "1"} {
			cmd := exec.Command(signertest.Require(t, "go", "go"), "list", "-deps", "../cmd/holdfast", ".")
			cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED="+cgo)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v", goos, err)
			}
			deps := strings.Fields(string(out))
			for _, path := range []string{"github.com/ebitengine/purego", "github.com/holdfast-dev/holdfast/keychain/internal/secfw"} {
				if got := slices.Contains(deps, path); got != want {
					t.Errorf("%s with CGO_ENABLED=%s depends on %s: %t", goos, cgo, path, got)
				}
			}
		}
	}
}
