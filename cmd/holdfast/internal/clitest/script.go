package clitest

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// QuickExit is for GORACE: it keeps the race detector from waiting a second at
// the end of every process. Programs inherit it from the tests that [Main] runs;
// an environment that a test makes anew needs it, too.
const QuickExit = "atexit_sleep_ms=0"

// Main runs the tests of a package. The test binary also is the program, and
// programs that tests need, under the names of [commands]: scripts, AWS's clients
// and exec.Command find them in PATH.
func Main(m *testing.M) {
	programs := commands()
	programs["holdfast"], programs["holdfast-held"], programs[exectest.Name] = holdfast, heldHoldfast, exectest.Main
	testscript.Main(quickExits{m}, programs)
}

// quickExits runs tests whose programs inherit [QuickExit].
type quickExits struct{ *testing.M }

func (q quickExits) Run() int {
	if err := os.Setenv("GORACE", QuickExit); err != nil {
		panic(err)
	}
	return q.M.Run()
}

// Scripts runs the scripts of the package, in testdata/script. Besides what
// testscript has they know:
//
//	pki KIND        makes a CA and a key (p256, rsa2048, …) with its certificate; see WriteFiles
//	mldsa SET FORM  makes an ML-DSA CA and a key with its certificate; see [signertest.IssueMLDSA]; $OPENSSL is an OpenSSL for them
//	emulator FLAG…  runs the emulator; $URL leads to it, $SESSION are the flags
//	tpm [MAKER]     runs a TPM, which $TPM_DEVICE names; the file MAKER gets the certificates of its maker
//	spiffe ID…      runs a SPIFFE Workload API with SVIDs of the CA of the last pki, which $SPIFFE_ENDPOINT_SOCKET names; without an ID, it knows no process
//	certify KEY CERTIFICATE  issues a certificate of the CA for a public key
//	revoke CRL CERTIFICATE…  writes a CRL of the CA that revokes certificates
func Scripts(t *testing.T) {
	openssl := filepath.Dir(signertest.Require(t, "openssl", "openssl"))
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", QuickExit)
			env.Values[scriptKey{}] = &scriptState{tb: env.T().(testing.TB), makers: make(map[string]*tpmtest.Maker)}
			env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+openssl)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"emulator": startEmulator,
			"pki":      writePKI,
			"mldsa":    writeMLDSA,
			"tpm":      startTPM,
			"spiffe":   startSPIFFE,
			"certify":  certify,
			"revoke":   revoke,
		},
	})
}

// startEmulator runs "holdfast emulator" with further flags for the rest of the
// script, as a process of its own, and sets $URL, and $SESSION to the flags
// that reach it.
func startEmulator(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! emulator")
	}
	url, flags, stop, err := RunEmulator(ts.MkAbs("."), args...)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("URL", url)
	ts.Setenv("SESSION", flags)
}

// A scriptState is what one script's commands share.
type scriptState struct {
	tb     testing.TB
	ca     *signertest.CA            // of the last pki
	makers map[string]*tpmtest.Maker // of TPMs, by the file of their certificates
}

type scriptKey struct{}

// startTPM runs a TPM for the rest of the script and names it by $TPM_DEVICE. With
// the name of a file, it is a TPM of the maker whose certificates the file gets.
func startTPM(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: tpm [MAKER]")
	}
	state := ts.Value(scriptKey{}).(*scriptState)
	signertest.Require(state.tb, "swtpm", "swtpm")
	if len(args) == 0 {
		ts.Setenv("TPM_DEVICE", tpmtest.Start(state.tb).Path)
		return
	}
	signertest.Require(state.tb, "swtpm", "swtpm_setup")
	maker := state.makers[args[0]]
	if maker == nil {
		maker = tpmtest.NewMaker(state.tb)
		state.makers[args[0]] = maker
	}
	ts.Setenv("TPM_DEVICE", maker.Start(state.tb).Path)
	roots, err := os.ReadFile(maker.Roots)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), roots, 0o600))
}

// startSPIFFE runs a Workload API for the rest of the script, and names it by
// $SPIFFE_ENDPOINT_SOCKET.
func startSPIFFE(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! spiffe")
	}
	state := ts.Value(scriptKey{}).(*scriptState)
	var svids []spiffetest.SVID
	for _, id := range args {
		svids = append(svids, spiffetest.Issue(state.tb, state.ca, "p256", id, nil))
	}
	api := spiffetest.Start(state.tb, svids...)
	if len(svids) == 0 {
		api.Refuse(spiffetest.PermissionDenied)
	}
	name, value, _ := strings.Cut(api.Variable(), "=")
	ts.Setenv(name, value)
}

// certify issues a certificate for a public key in PEM.
func certify(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certify PUBLIC CERTIFICATE")
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[0])))
	if block == nil {
		ts.Fatalf("%s has no PEM block", args[0])
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	ts.Check(err)
	ca := ts.Value(scriptKey{}).(*scriptState).ca
	chain := []*x509.Certificate{ca.Issue(scriptTB{ts: ts}, publicKey{pub: pub}, nil), ca.Cert}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), signertest.CertPEM(chain...), 0o600))
}

// revoke writes a CRL of the CA with the first certificate of each file.
func revoke(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: revoke CRL CERTIFICATE…")
	}
	var certs []*x509.Certificate
	for _, name := range args[1:] {
		block, _ := pem.Decode([]byte(ts.ReadFile(name)))
		if block == nil {
			ts.Fatalf("%s has no PEM block", name)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		ts.Check(err)
		certs = append(certs, cert)
	}
	der := ts.Value(scriptKey{}).(*scriptState).ca.Revoke(scriptTB{ts: ts}, certs...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600))
}

// A publicKey is a key to certify, which is elsewhere.
type publicKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (k publicKey) Public() crypto.PublicKey { return k.pub }

// writePKI makes ca.pem, cert.pem, key.pem, intermediate.pem and other.key in
// the script's folder, with a key of the kind given.
func writePKI(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pki KIND")
	}
	tb := scriptTB{ts: ts}
	ts.Value(scriptKey{}).(*scriptState).ca = WriteFiles(tb, ts.MkAbs("."), args[0])
}

// writeMLDSA makes root.pem, root-key.pem, cert.pem and key.pem in the script's
// folder.
func writeMLDSA(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mldsa SET FORM")
	}
	ts.Setenv("OPENSSL", signertest.OpenSSL35(ts.Value(scriptKey{}).(*scriptState).tb))
	signertest.IssueMLDSA(scriptTB{ts: ts}, ts.MkAbs("."), args[0], args[1])
}

// scriptTB lets the test CA fail a script.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (scriptTB) Helper()                         {}
func (tb scriptTB) Fatal(args ...any)            { tb.ts.Fatalf("%v", args) }
func (tb scriptTB) Fatalf(f string, args ...any) { tb.ts.Fatalf(f, args...) }
