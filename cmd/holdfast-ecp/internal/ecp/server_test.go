package ecp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/gob"
	"errors"
	"io"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func fake(t testing.TB, kind string) *signertest.Fake {
	key := signertest.Key(t, kind)
	ca := signertest.NewCA(t, "CA")
	return &signertest.Fake{Key: key, Certificates: append([]*x509.Certificate{ca.Issue(t, key, nil)}, ca.Chain()...)}
}

// A session is a server with the streams of its client.
type session struct {
	in   *io.PipeWriter
	out  *io.PipeReader
	done chan error // has the result of serve
}

func (s session) Read(p []byte) (int, error)  { return s.out.Read(p) }
func (s session) Write(p []byte) (int, error) { return s.in.Write(p) }
func (s session) Close() error                { return errors.Join(s.in.Close(), s.out.Close()) }

func start(t *testing.T, key signer.Signer, timeout time.Duration) session {
	t.Helper()
	id, err := rotate.New(t.Context(), rotate.Config{Open: func(context.Context) (signer.Signer, error) { return key, nil }})
	if err != nil {
		t.Fatal(err)
	}
	server, err := newServer(id)
	if err != nil {
		t.Fatal(err)
	}
	if timeout > 0 {
		server.timeout = timeout
	}
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	s := session{in, out, make(chan error, 1)}
	go func() {
		err := server.serve(context.Background(), stdin, stdout)
		stdin.CloseWithError(err)
		stdout.CloseWithError(err)
		s.done <- errors.Join(err, id.Close())
	}()
	t.Cleanup(func() { s.Close() })
	return s
}

// SignArgs are the arguments as a client declares them.
type SignArgs struct {
	Digest []byte
	Opts   crypto.SignerOpts
}

type EncryptArgs struct {
	Plaintext []byte
	Opts      any
}

const api = "EnterpriseCertSigner."

func TestClient(t *testing.T) {
	digest := sha256.Sum256([]byte("x"))
	for _, kind := range []string{"p256", "rsa2048"} {
		t.Run(kind, func(t *testing.T) {
			key := fake(t, kind)
			s := start(t, key, 0)
			client := rpc.NewClient(s)
			var chain [][]byte
			if err := client.Call(api+"CertificateChain", struct{}{}, &chain); err != nil || len(chain) != len(key.Certificates) || !bytes.Equal(chain[0], key.Certificates[0].Raw) {
				t.Fatalf("%v: %d certificates", err, len(chain))
			}
			var der []byte
			if err := client.Call(api+"Public", struct{}{}, &der); err != nil {
				t.Fatal(err)
			}
			pub, err := x509.ParsePKIXPublicKey(der)
			if err != nil {
				t.Fatal(err)
			}
			var calls sync.WaitGroup
			for range maxCalls / 2 {
				calls.Go(func() {
					var sig []byte
					if err := client.Call(api+"Sign", SignArgs{digest[:], crypto.SHA256}, &sig); err != nil {
						t.Error(err)
					}
					switch pub := pub.(type) {
					case *ecdsa.PublicKey:
						if !ecdsa.VerifyASN1(pub, digest[:], sig) {
							t.Error("wrong signature")
						}
					case *rsa.PublicKey:
						if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig); err != nil {
							t.Error(err)
						}
						opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
						if err := client.Call(api+"Sign", SignArgs{digest[:], opts}, &sig); err != nil {
							t.Error(err)
						} else if err := rsa.VerifyPSS(pub, crypto.SHA256, digest[:], sig, opts); err != nil {
							t.Error(err)
						}
					}
				})
			}
			calls.Wait()
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			if err := <-s.done; err != nil || key.Closes() == 0 {
				t.Errorf("%v; key closed %d times", err, key.Closes())
			}
		})
	}
}

// otherOpts are options of a type that the server does not know.
type otherOpts struct{ Salt int }

func (otherOpts) HashFunc() crypto.Hash { return crypto.SHA256 }

func TestRefusedCalls(t *testing.T) {
	gob.Register(otherOpts{})
	gob.Register(&rsa.OAEPOptions{})
	digest := make([]byte, 32)
	key := fake(t, "rsa2048")
	s := start(t, key, 0)
	client := rpc.NewClient(s)
	for _, c := range []struct {
		name, method string
		args         any
		want         string
	}{
		{"no options", "Sign", SignArgs{digest, nil}, "nil"},
		{"short digest", "Sign", SignArgs{digest[:31], crypto.SHA256}, "digest has 31 bytes"},
		{"no digest", "Sign", SignArgs{nil, crypto.SHA256}, "digest has 0 bytes"},
		{"long digest", "Sign", SignArgs{make([]byte, 1<<19), crypto.SHA256}, "digest has 524288 bytes"},
		{"no hash", "Sign", SignArgs{digest, crypto.Hash(0)}, "hash"},
		{"SHA-1", "Sign", SignArgs{digest[:20], crypto.SHA1}, "unsupported"},
		{"unknown hash", "Sign", SignArgs{digest, crypto.Hash(9999)}, "unsupported"},
		{"salt", "Sign", SignArgs{digest, &rsa.PSSOptions{SaltLength: 9999, Hash: crypto.SHA256}}, "salt"},
		{"negative salt", "Sign", SignArgs{digest, &rsa.PSSOptions{SaltLength: -9, Hash: crypto.SHA256}}, "salt"},
		{"arguments of another method", "Sign", EncryptArgs{digest, nil}, "nil signature options"},
		{"arguments of another type", "Sign", "text", "the arguments are invalid"},
		{"encryption", "Encrypt", EncryptArgs{digest, &rsa.OAEPOptions{}}, "Encrypt: holdfast-ecp only signs"},
		{"decryption", "Decrypt", EncryptArgs{digest, nil}, "Decrypt: holdfast-ecp only signs"},
		{"unknown method", "Export", struct{}{}, "no such method"},
	} {
		var result []byte
		err := client.Call(api+c.method, c.args, &result)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "holdfast-ecp: ") || result != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if key.Signs() != 0 {
		t.Errorf("%d signatures", key.Signs())
	}
	// The stream is still usable.
	var sig []byte
	if err := client.Call(api+"Sign", SignArgs{digest, crypto.SHA256}, &sig); err != nil {
		t.Error(err)
	}
}

// TestUnknownOptions: gob cannot find the end of a value of an unknown type, so the
// process answers and ends.
func TestUnknownOptions(t *testing.T) {
	s := start(t, fake(t, "p256"), 0)
	call := encode(t, request{api + "Sign", 7}, SignArgs{make([]byte, 32), otherOpts{}})
	go s.in.Write(bytes.ReplaceAll(call, []byte("otherOpts"), []byte("unknown12")))
	var answer response
	if err := gob.NewDecoder(s.out).Decode(&answer); err != nil || answer.Seq != 7 || !strings.Contains(answer.Error, "the arguments are invalid: gob: name not registered") {
		t.Errorf("%v: %+v", err, answer)
	}
	go io.Copy(io.Discard, s.out)
	if err := <-s.done; err == nil || !strings.Contains(err.Error(), "not the protocol") {
		t.Error(err)
	}
}

func encode(t testing.TB, values ...any) []byte {
	t.Helper()
	registerOptions()
	gob.Register(otherOpts{})
	var b bytes.Buffer
	encoder := gob.NewEncoder(&b)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestStreams: a broken stream ends the process with one sentence.
func TestStreams(t *testing.T) {
	call := encode(t, request{api + "Sign", 1}, SignArgs{make([]byte, 32), crypto.SHA256})
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), "not the protocol"},
		{"zeros", make([]byte, 100), "a message of 0 bytes"},
		{"1 GiB", []byte{0xfc, 0x40, 0, 0, 0}, "a message of 1073741824 bytes"},
		{"huge length", []byte{0xf8, 255, 255, 255, 255, 255, 255, 255, 255}, "a message of 18446744073709551615 bytes"},
		{"length of 100 bytes", []byte{0x9c}, "a length of 100 bytes"},
		{"half a length", []byte{0xfc, 0x40}, "unexpected EOF"},
		{"half a message", []byte{100, 1, 2}, "EOF"},
		{"half a call", call[:len(call)-1], "EOF"},
		{"a call without arguments", encode(t, request{api + "Sign", 1}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := fake(t, "p256")
			s := start(t, key, 0)
			go io.Copy(io.Discard, s.out)
			go func() {
				s.in.Write(c.in)
				s.in.Close()
			}()
			err := <-s.done
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if key.Signs() != 0 || key.Closes() == 0 {
				t.Errorf("%d signatures, %d closes", key.Signs(), key.Closes())
			}
		})
	}
}

// TestHang: a key that hangs neither blocks other calls nor keeps the process alive.
func TestHang(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	key := fake(t, "p256")
	key.OnSign = func(int) error { <-release; return nil }
	s := start(t, key, time.Hour)
	client := rpc.NewClient(s)
	args := SignArgs{make([]byte, 32), crypto.SHA256}
	calls := make(chan *rpc.Call, maxCalls+1)
	for range maxCalls + 1 {
		client.Go(api+"Sign", args, new([]byte), calls)
	}
	if call := <-calls; call.Error == nil || !strings.Contains(call.Error.Error(), "more than 64 calls") {
		t.Error(call.Error)
	}
	s.in.Close()
	if err := <-s.done; !errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("closing a key that hangs: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	key := fake(t, "p256")
	key.OnSign = func(int) error { <-release; return nil }
	client := rpc.NewClient(start(t, key, time.Millisecond))
	var sig []byte
	if err := client.Call(api+"Sign", SignArgs{make([]byte, 32), crypto.SHA256}, &sig); err == nil || !strings.Contains(err.Error(), signer.ErrUnavailable.Error()) {
		t.Error(err)
	}
	var der []byte
	if err := client.Call(api+"Public", struct{}{}, &der); err != nil {
		t.Error(err)
	}
}

// TestMessageSigner: the client gets the reason of a key that signs only messages.
func TestMessageSigner(t *testing.T) {
	inner := fake(t, "p256")
	key := &signertest.MessageFake{Fake: signertest.Fake{Key: inner.Key, Certificates: inner.Certificates}}
	client := rpc.NewClient(start(t, key, 0))
	var sig []byte
	if err := client.Call(api+"Sign", SignArgs{make([]byte, 32), crypto.SHA256}, &sig); err == nil || !strings.Contains(err.Error(), "a digest instead of a message") {
		t.Error(err)
	}
}

// TestOutputOfServer: the process ends if nobody reads what it writes.
func TestOutputOfServer(t *testing.T) {
	s := start(t, fake(t, "p256"), 0)
	s.out.Close()
	go s.in.Write(encode(t, request{api + "Public", 1}, struct{}{}))
	if err := <-s.done; err == nil || !strings.Contains(err.Error(), "standard output") {
		t.Error(err)
	}
}
