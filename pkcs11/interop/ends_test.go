//go:build linux && cgo

package interop

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// ends are the ways in which a module ends or holds its process, and what the error of a
// call says of it.
var ends = map[string]string{
	"crash 0": "its process ended: signal: segmentation fault",
	"abort 0": "its process ended: signal: aborted",
	"exit 3":  "its process ended: exit status 3",
	"hang 0":  "does not answer",
}

// connecting are the functions that a Key calls to find its token and key again.
var connecting = []string{
	"C_GetFunctionList", "C_Initialize", "C_GetInfo", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_GetSessionInfo", "C_Login",
	"C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal", "C_GetAttributeValue", "C_GetSlotInfo",
}

// An ending is a test of one function that ends the helper process.
type ending struct {
	*testing.T
	tok    token
	ref    keystore.Ref
	name   string
	says   string // the error
	faults faults
	hangs  bool
}

// closeLimit is more than Close waits: for a signature, the sessions and the module.
const closeLimit = 15 * time.Second

// TestModuleEndsProcess: a module that crashes, exits or hangs in any function takes its
// helper with it. The call says so, the next one works, Close returns, and no PIN is used
// again that a login ended with.
func TestModuleEndsProcess(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	cc := signertest.Require(t, "cc", "cc")
	if !inOwnProcess(t) {
		return
	}
	pkcs11test.UseHelper(t)
	hsm := pkcs11test.New(t)
	t.Setenv("FAULT_MODULE", hsm.Module)
	module := pkcs11test.FaultModule(t, cc, t.TempDir())
	newToken := func() (token, string) {
		hsm := pkcs11test.New(t)
		uri, err := pkcs11.ParseURI(hsm.Token(t))
		if err != nil {
			t.Fatal(err)
		}
		tok := token{uri: uri, pin: pkcs11test.PIN}
		tok.generate(t, tok.ref("p256", ""), keystore.P256)
		tok.uri.Isolation, tok.uri.LibraryManufacturer = pkcs11.IsolationOn, "SoftHSM" // so that C_GetInfo is called
		return tok, filepath.Join(hsm.Dir, "tokens")
	}
	common, tokens := newToken()
	code, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, 12) // most of them only wait
	run := func(function, action string, test func(e *ending, function, action string)) {
		dir, tok, from := t.TempDir(), common, tokens
		if function == "C_Login" { // this process does not use the PIN again
			tok, from = newToken()
		}
		e := &ending{T: t, tok: tok, name: function + " " + action + ": ", says: ends[action], hangs: strings.HasPrefix(action, "hang")}
		e.tok.uri.ModulePath = filepath.Join(dir, "fault.so")
		writeFile(t, e.tok.uri.ModulePath, string(code))
		e.faults.file = e.tok.uri.ModulePath + ".rules"
		writeFile(t, e.faults.file+".log", "")
		own := filepath.Join(dir, "tokens") // SoftHSM loses tokens that many processes use
		if err := os.CopyFS(own, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		writeFile(t, e.faults.file+".conf", "directories.tokendir = "+own+"\nlog.level = ERROR\n")
		e.faults.set(t)
		e.ref = e.tok.ref("p256", "")
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			test(e, function, action)
		})
	}
	for action := range ends {
		for _, function := range connecting {
			run(function, action, (*ending).whileConnecting)
		}
		for _, function := range []string{"C_SignInit", "C_Sign"} {
			run(function, action, (*ending).whileSigning)
		}
		for _, function := range []string{"C_CloseSession", "C_Finalize"} {
			run(function, action, (*ending).whileClosing)
		}
		run("C_GetMechanismList", action, (*ending).whileListing)
		for _, function := range []string{"C_GenerateKeyPair", "C_CreateObject", "C_DestroyObject"} {
			run(function, action, (*ending).whileManaging)
		}
		for _, function := range connecting {
			run(function, action, (*ending).whileOpening)
		}
	}
	all.Wait()
	eventually(t, time.Minute, func() error { return noChildren("holdfast-pkcs11") })
}

// noChildren returns an error if this process has children with the name, also ended ones.
func noChildren(name string) error {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, stat := range stats {
		text, _ := os.ReadFile(stat)
		pid, rest, _ := strings.Cut(string(text), " (")
		comm, fields, _ := strings.Cut(rest, ") ")
		state, fields, _ := strings.Cut(fields, " ")
		parent, _, _ := strings.Cut(fields, " ")
		// The kernel keeps 15 bytes of a name.
		if strings.HasPrefix(name, comm) && comm != "" && parent == fmt.Sprint(os.Getpid()) {
			return fmt.Errorf("process %s, %s, is in state %s", pid, comm, state)
		}
	}
	return nil
}

func (e *ending) errorf(format string, args ...any) {
	e.Helper()
	e.Errorf(e.name+format, args...)
}

// bound returns a context for a call that fails: short if the module hangs.
func (e *ending) bound() (context.Context, context.CancelFunc) {
	if e.hangs {
		return context.WithTimeout(e.Context(), time.Second)
	}
	return context.WithTimeout(e.Context(), time.Minute)
}

// check checks the error of a call.
func (e *ending) check(what string, err error) {
	e.Helper()
	if err == nil || !strings.Contains(err.Error(), e.says) || !strings.Contains(err.Error(), e.tok.uri.ModulePath) {
		e.errorf("%s: error %v, want one with %q and the path of the module", what, err, e.says)
	}
}

// call has a PIN that no person types.
func (e *ending) call() keystore.Call {
	return keystore.Call{Options: keystore.Options{PIN: keystore.Call{}.PINValue(e.tok.pin)}}
}

func (e *ending) open(ctx context.Context) (signer.Signer, error) {
	return backend.Open(ctx, e.ref, e.call())
}

func (e *ending) mustOpen() signer.Signer {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	key, err := e.open(ctx)
	if err != nil {
		e.errorf("open: %v", err)
	}
	return key
}

func (e *ending) sign(ctx context.Context, key signer.Signer) error {
	digest := sha256.Sum256([]byte("message"))
	sig, err := signer.SignContext(ctx, key, nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return verify(key.Public(), digest[:], sig)
}

// works checks that key signs in a minute.
func (e *ending) works(key signer.Signer) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	if err := e.sign(ctx, key); err != nil {
		e.errorf("the next signature: %v", err)
	}
}

func (e *ending) close(key signer.Signer) error {
	e.Helper()
	begin := time.Now()
	err := key.Close()
	if d := time.Since(begin); d > closeLimit {
		e.errorf("Close took %v", d)
	}
	return err
}

// logins checks the calls of C_Login: never more than those of C_Initialize.
func (e *ending) logins(want int) {
	e.Helper()
	log, err := os.ReadFile(e.faults.file + ".log")
	if err != nil {
		e.errorf("%v", err)
	}
	l, i := strings.Count(string(log), "L"), strings.Count(string(log), "I")
	if l > i || want > 0 && l != want {
		e.errorf("%d calls of C_Login and %d of C_Initialize, want %d", l, i, want)
	}
}

// whileConnecting ends the helper in C_Sign, and then while the key is found again.
func (e *ending) whileConnecting(function, action string) {
	key := e.mustOpen()
	if key == nil {
		return
	}
	e.faults.set(e.T, "C_Sign 1 1 abort 0", function+" 1 0 "+action)
	rounds := 2
	if e.hangs {
		rounds = 1 // others wait for the end of the helper, and say so
	}
	for range rounds {
		ctx, cancel := e.bound()
		err := e.sign(ctx, key)
		cancel()
		// Whether the token counted a try is not known, so the PIN is not sent again.
		if unclear := function == "C_Login"; unclear && errors.Is(err, signer.ErrPINRequired) {
			continue
		}
		e.check("Sign", err)
	}
	e.faults.set(e.T)
	if function == "C_Login" {
		ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
		defer cancel()
		if err := e.sign(ctx, key); !errors.Is(err, signer.ErrPINRequired) {
			e.errorf("the next signature: error %v, want signer.ErrPINRequired", err)
		}
		e.logins(2) // one for Open
	} else {
		e.works(key)
		e.logins(0)
	}
	if err := e.close(key); err != nil {
		e.errorf("Close: %v", err)
	}
}

// whileSigning ends the helper in each signature.
func (e *ending) whileSigning(function, action string) {
	key := e.mustOpen()
	if key == nil {
		return
	}
	e.faults.set(e.T, function+" 1 1 "+action)
	if !e.hangs {
		e.works(key) // at the second attempt
	}
	e.faults.set(e.T, function+" 1 0 "+action)
	ctx, cancel := e.bound()
	defer cancel()
	e.check("Sign", e.sign(ctx, key))
	e.faults.set(e.T)
	e.works(key)
	e.logins(0)
	if err := e.close(key); err != nil {
		e.errorf("Close: %v", err)
	}
}

// whileClosing ends the helper in Close.
func (e *ending) whileClosing(function, action string) {
	key := e.mustOpen()
	if key == nil {
		return
	}
	e.works(key)
	e.faults.set(e.T, function+" 1 0 "+action)
	if err := e.close(key); err != nil && !strings.Contains(err.Error(), e.says) && !strings.Contains(err.Error(), "did not answer") {
		e.errorf("Close: %v", err)
	}
	e.faults.set(e.T)
	if key := e.mustOpen(); key != nil {
		e.works(key)
		if err := e.close(key); err != nil {
			e.errorf("Close: %v", err)
		}
	}
	e.logins(0)
}

// whileListing ends the helper while the mechanisms are read.
func (e *ending) whileListing(function, action string) {
	key := e.mustOpen()
	if key == nil {
		return
	}
	e.faults.set(e.T, function+" 1 0 "+action)
	if all := key.(signer.SchemeLimiter).SignatureSchemes(); len(all) == 0 {
		e.errorf("no schemes")
	}
	e.works(key)
	e.faults.set(e.T)
	if err := e.close(key); err != nil {
		e.errorf("Close: %v", err)
	}
	e.logins(0)
}

// whileManaging ends the helper while a key and its certificates are stored.
func (e *ending) whileManaging(function, action string) {
	ref := e.tok.ref(strings.ReplaceAll(strings.TrimSuffix(e.name, ": "), " ", "-"), "")
	manage := func(ctx context.Context) error {
		made, err := backend.Generate(ctx, ref, keystore.KeySpec{Type: keystore.P256}, e.call())
		var key signer.Signer = made
		if errors.Is(err, os.ErrExist) {
			key, err = backend.Open(ctx, ref, e.call())
		}
		if err != nil {
			return err
		}
		in := keystore.Installation{Certificates: []*x509.Certificate{signertest.NewCA(e.T, "root").Issue(e.T, key, nil)}, Replace: true}
		if err := key.Close(); err != nil {
			return err
		}
		_, err = backend.Install(ctx, ref, in, e.call())
		return err
	}
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	if function == "C_DestroyObject" { // of certificates that are replaced
		if err := manage(ctx); err != nil {
			e.errorf("%v", err)
		}
	}
	e.faults.set(e.T, function+" 1 0 "+action)
	bound, end := e.bound()
	defer end()
	e.check("Generate or Install", manage(bound))
	e.faults.set(e.T)
	if err := manage(ctx); err != nil {
		e.errorf("again: %v", err)
	}
	e.logins(0)
}

// whileOpening ends the helper in Open. A login of another process is not known.
func (e *ending) whileOpening(function, action string) {
	e.faults.set(e.T, function+" 1 0 "+action)
	ctx, cancel := e.bound()
	defer cancel()
	key, err := e.open(ctx)
	if err == nil {
		e.errorf("opened")
		_ = e.close(key)
		return
	}
	e.check("Open", err)
	e.faults.set(e.T)
	again, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	key, err = e.open(again)
	switch {
	case function == "C_Login" && errors.Is(err, signer.ErrPINRequired):
		e.logins(1)
	case function == "C_Login":
		e.errorf("Open: error %v, want signer.ErrPINRequired", err)
	case err != nil:
		e.errorf("Open: %v", err)
	}
	if err == nil {
		e.works(key)
		if err := e.close(key); err != nil {
			e.errorf("Close: %v", err)
		}
	}
	e.logins(0)
}
