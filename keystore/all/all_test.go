package all

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

func TestMain(m *testing.M) {
	exectest.Main()
	os.Exit(m.Run())
}

// references has an example for each scheme.
var references = map[string]string{
	"file": "file:/nonexistent/k.pem", "env": "env:NAME", "-": "-",
	"pkcs11": "pkcs11:token=t;object=k", "tpm": "tpm:handle=0x81010002", "handle": "handle:81010002",
	"winstore": "winstore:store=MY;subject=CN=app", "keychain": "keychain:label=app",
	"sshagent": "sshagent:socket=/nonexistent/agent",
	"spiffe":   "spiffe://example.org/app",
	"exec":     "exec:program=/nonexistent/signer;key=app",
}

// refOf parses a well-formed reference.
func refOf(t testing.TB, text string) keystore.Ref {
	t.Helper()
	ref, err := keystore.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestSchemesAreKnown(t *testing.T) {
	store := New()
	for scheme, ref := range references {
		parsed, err := keystore.ParseRef(ref)
		if err != nil || parsed.Scheme != scheme {
			t.Errorf("%s has scheme %q, error %v", ref, parsed.Scheme, err)
		}
		_, err = store.Open(t.Context(), parsed, keystore.Options{})
		var refErr *keystore.RefError
		if err == nil || errors.As(err, &refErr) {
			t.Errorf("%s: error %v", ref, err)
		}
	}
	owner := make(map[string]string)
	for _, b := range Backends() {
		for _, scheme := range b.Schemes() {
			if references[scheme] == "" {
				t.Errorf("scheme %q of %s has no example", scheme, b.Name())
			}
			if owner[scheme] != "" {
				t.Errorf("scheme %q of %s also belongs to %s", scheme, b.Name(), owner[scheme])
			}
			owner[scheme] = b.Name()
		}
	}
}

// contract has a function for each backend that creates a key and returns its
// reference. TestContract opens it many times.
var contract = map[string]func(t *testing.T) keystore.Ref{
	"file": func(t *testing.T) keystore.Ref {
		ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
		key := signertest.Key(t, "p256")
		path := filepath.Join(t.TempDir(), "key.pem")
		all := slices.Concat(signertest.KeyPEM(t, key), signertest.CertPEM(ca.Issue(t, key, nil), ca.Cert))
		if err := os.WriteFile(path, all, 0o600); err != nil {
			t.Fatal(err)
		}
		return refOf(t, path)
	},
	"exec": func(t *testing.T) keystore.Ref {
		t.Setenv("GORACE", "atexit_sleep_ms=0") // of the program
		ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
		key := signertest.Key(t, "p256")
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, exectest.PEM(t, key, ca.Issue(t, key, nil), ca.Cert), 0o600); err != nil {
			t.Fatal(err)
		}
		ref := keystore.Ref{Scheme: "exec", Rest: keystore.FormatAttribute("program", exectest.Install(t))}
		return keystore.WithAttribute(ref, "key", path)
	},
	"pkcs11": pkcs11Contract,
	"tpm": func(t *testing.T) keystore.Ref {
		signertest.Require(t, "swtpm", "swtpm")
		emulator := tpmtest.Start(t)
		ref := keystore.Ref{Scheme: "tpm", Rest: keystore.FormatAttribute("path", filepath.Join(t.TempDir(), "key.pem")) +
			";" + keystore.FormatAttribute("device", emulator.Path)}
		key, err := tpm.Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, keystore.Call{})
		if err != nil {
			t.Fatal(err)
		}
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
		return ref
	},
	"winstore": winstoreContract,
	// docs/try-on-macos.md says how to create the identity on a Mac. The
	// tests of package keychain run the contract on every system.
	"keychain": func(t *testing.T) keystore.Ref {
		ref := os.Getenv("HOLDFAST_TEST_KEYCHAIN")
		if ref == "" {
			t.Skip("HOLDFAST_TEST_KEYCHAIN is not set")
		}
		return refOf(t, ref)
	},
	"sshagent": func(t *testing.T) keystore.Ref {
		agent := sshagenttest.Start(t, "")
		agent.Add(signertest.Key(t, "p256"), "app")
		return keystore.Ref{Scheme: "sshagent", Rest: keystore.FormatAttribute("socket", agent.Socket)}
	},
	"spiffe": func(t *testing.T) keystore.Ref {
		if runtime.GOOS == "windows" {
			t.Skip("Wine has no Unix sockets")
		}
		ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
		api := spiffetest.Start(t, spiffetest.Issue(t, ca, "p256", "spiffe://example.org/app", nil))
		return refOf(t, "spiffe:"+keystore.FormatAttribute("socket", api.Path))
	},
}

// runs has the contract of the backends whose keys sign only messages.
var runs = map[string]func(*testing.T, func(*testing.T) signer.Signer){"sshagent": signertest.RunMessages}

func TestContract(t *testing.T) {
	store := New()
	for _, b := range Backends() {
		t.Run(b.Name(), func(t *testing.T) {
			setUp := contract[b.Name()]
			if setUp == nil {
				t.Fatal("no key to test the contract with")
			}
			ref := setUp(t)
			if files := unreportedFiles(store, ref); len(files) != 0 {
				t.Errorf("%s names %q, but Uses of its backend does not report it; see keystore.Dependent", ref, files)
			}
			open := func(t *testing.T, ref keystore.Ref) signer.Signer {
				s, err := store.Open(t.Context(), ref, keystore.Options{Environ: os.Environ})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			run := runs[b.Name()]
			if run == nil {
				run = signertest.Run
			}
			run(t, func(t *testing.T) signer.Signer { return open(t, ref) })
			t.Run("Ref", func(t *testing.T) {
				checkRef(t, b, open(t, ref), func(ref keystore.Ref) signer.Signer { return open(t, ref) })
			})
		})
	}
}

// checkRef closes s. Keys of devices have a reference that opens them again, as
// it is and parsed from its text. Those of files are plain Signers: the caller
// who opened a file knows its name.
func checkRef(t *testing.T, b keystore.Backend, s signer.Signer, open func(keystore.Ref) signer.Signer) {
	t.Helper()
	pub := s.Public()
	named, ok := s.(interface{ Ref() keystore.Ref })
	if !ok {
		if b.Name() != "file" {
			t.Errorf("a key of %s has no Ref", b.Name())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	ref := named.Ref()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, ref := range []keystore.Ref{ref, refOf(t, ref.String())} {
		again := open(ref)
		if got := again.(interface{ Ref() keystore.Ref }).Ref(); !signer.SamePublicKey(again.Public(), pub) || got != ref {
			t.Errorf("%s opens %s", ref, got)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}
