package signertest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestKeyIsShared(t *testing.T) {
	want := map[string]string{
		"rsa2048": "RSA-2048", "rsa3072": "RSA-3072", "rsa4096": "RSA-4096",
		"p256": "ECDSA P-256", "p384": "ECDSA P-384", "p521": "ECDSA P-521", "ed25519": "Ed25519",
	}
	if len(KeyKinds()) != len(want) {
		t.Errorf("%d kinds, want %d", len(KeyKinds()), len(want))
	}
	for _, kind := range KeyKinds() {
		pub := Key(t, kind).Public()
		if got := signer.DescribeKey(pub); got != want[kind] {
			t.Errorf("%s is %s", kind, got)
		}
		if !signer.SamePublicKey(pub, Key(t, kind).Public()) {
			t.Errorf("%s: two calls of Key return different keys", kind)
		}
	}
	if signer.SamePublicKey(NewKey(t, "p256").Public(), NewKey(t, "p256").Public()) {
		t.Error("NewKey returns the same key twice")
	}
	if signer.SamePublicKey(NewKey(t, "p256").Public(), Key(t, "p256").Public()) {
		t.Error("NewKey returns the shared key")
	}
}

// recorder ends a test like testing.T, but only records the outcome.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatal(...any)          { r.fatal() }
func (r *recorder) Fatalf(string, ...any) { r.fatal() }
func (r *recorder) fatal()                { r.outcome = "failed"; runtime.Goexit() }
func (r *recorder) Skipf(string, ...any)  { r.outcome = "skipped"; runtime.Goexit() }

func record(test func(tb testing.TB)) string {
	r := &recorder{outcome: "passed"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r.outcome
}

func TestKeyOfUnknownKind(t *testing.T) {
	if got := record(func(tb testing.TB) { Key(tb, "dsa") }); got != "failed" {
		t.Errorf("outcome is %s, want failed", got)
	}
}

func TestRequire(t *testing.T) {
	name := "program"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ required, program, want string }{
		{"", path, "passed"},
		{"swtpm,thing", path, "passed"},
		{"", path + "-not", "skipped"},
		{"swtpm,things", path + "-not", "skipped"},
		{"swtpm,thing", path + "-not", "failed"},
	}
	for _, test := range tests {
		t.Setenv("HOLDFAST_REQUIRE", test.required)
		outcome := record(func(tb testing.TB) {
			if got := Require(tb, "thing", test.program); got != test.program {
				t.Errorf("path is %q, want %q", got, test.program)
			}
		})
		if outcome != test.want {
			t.Errorf("HOLDFAST_REQUIRE=%s %s: outcome is %s, want %s", test.required, filepath.Base(test.program), outcome, test.want)
		}
	}
}
