package all

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// The key of a TLS client is replaced 100 times while 64 clients connect. No handshake
// fails, and nothing stays behind.
func TestRotationUnderLoad(t *testing.T) {
	for _, device := range []struct {
		name string
		refs func(*testing.T) [2]string
		rest func(*testing.T) string // what the device still holds
	}{
		{"softhsm", func(t *testing.T) (refs [2]string) {
			uri, err := pkcs11.ParseURI(softHSM(t))
			if err != nil {
				t.Fatal(err)
			}
			for i, object := range []string{"one", "two"} {
				uri.Object = object
				refs[i] = uri.String()
			}
			return refs
		}, nil},
		{"tpm", func(t *testing.T) (refs [2]string) {
			signertest.Require(t, "swtpm", "swtpm")
			emulator := tpmtest.Start(t)
			t.Setenv("TPM2TOOLS_TCTI", emulator.TCTI())
			for i, name := range []string{"one.pem", "two.pem"} {
				refs[i] = "tpm:" + keystore.FormatAttribute("path", filepath.Join(t.TempDir(), name)) + ";" + keystore.FormatAttribute("device", emulator.Path)
			}
			return refs
		}, func(t *testing.T) string {
			var held []string
			for _, kind := range []string{"handles-transient", "handles-loaded-session"} {
				out, err := exec.Command(signertest.Require(t, "tpm2-tools", "tpm2_getcap"), kind).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				held = append(held, strings.Fields(string(out))...)
			}
			return strings.Join(held, " ")
		}},
	} {
		t.Run(device.name, func(t *testing.T) {
			refs := device.refs(t)
			goroutines, descriptors := runtime.NumGoroutine(), openFiles(t)
			rotateUnderLoad(t, refs)
			// The handshakes of crypto/tls end in goroutines of their own.
			for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines; {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines more than before", runtime.NumGoroutine()-goroutines)
				}
				time.Sleep(time.Millisecond)
			}
			if n := openFiles(t); n > descriptors {
				t.Errorf("%d open files, before %d", n, descriptors)
			}
			if device.rest != nil {
				if rest := device.rest(t); rest != "" {
					t.Errorf("the device still holds %s", rest)
				}
			}
		})
	}
}

// softHSM returns the URI of a new token with its PIN.
func softHSM(t *testing.T) string {
	t.Helper()
	signertest.Require(t, "softhsm", "softhsm2-util")
	pkcs11test.UseHelper(t) // in builds without cgo
	uri, err := pkcs11.ParseURI(pkcs11test.New(t).Token(t))
	if err != nil {
		t.Fatal(err)
	}
	uri.PINSource = filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(uri.PINSource, []byte(pkcs11test.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	return uri.String()
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func rotateUnderLoad(t *testing.T, refs [2]string) {
	const clients, rotations, between = 64, 100, 4
	store, ca := New(), signertest.NewCA(t, "root")
	var certs [2]*x509.Certificate
	for i, text := range refs {
		ref, err := keystore.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		key, err := store.Generate(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, keystore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		certs[i] = ca.Issue(t, key, nil)
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
	}
	opens := 0
	id, err := rotate.New(t.Context(), rotate.Config{Open: func(ctx context.Context) (signer.Signer, error) {
		ref, err := keystore.ParseRef(refs[opens%2])
		if err != nil {
			return nil, err
		}
		key, err := store.Open(ctx, ref, keystore.Options{})
		if err != nil {
			return nil, err
		}
		bound, err := signer.Bind(key, certs[opens%2:opens%2+1], time.Now())
		if err != nil {
			return nil, errors.Join(err, key.Close())
		}
		opens++
		return bound, nil
	}})
	if err != nil {
		t.Fatal(err)
	}

	serverKey := signertest.Key(t, "p256")
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	server := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{ca.Issue(t, serverKey, nil).Raw}, PrivateKey: serverKey}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, SessionTicketsDisabled: true,
	}
	client := &tls.Config{GetClientCertificate: id.GetClientCertificate, InsecureSkipVerify: true} // the test certificates are client certificates

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{}, clients)
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := connect(server, client); err != nil {
					t.Error(err)
					stop()
				}
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	for n := 0; n < rotations && ctx.Err() == nil; n++ {
		for range between {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		if err := id.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop()
	running.Wait()
	if got := id.Stats().Reloads; got != rotations {
		t.Errorf("%d rotations, want %d", got, rotations)
	}
	if err := id.Close(); err != nil {
		t.Error(err)
	}
}

// connect makes one connection, in which the server verifies the certificate of the
// client.
func connect(server, client *tls.Config) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		_, err := tls.Server(a, server).Write([]byte{1}) // a client learns only after its handshake that it was rejected
		done <- err
	}()
	_, err := tls.Client(b, client).Read(make([]byte, 1))
	b.Close()
	return errors.Join(err, <-done)
}
