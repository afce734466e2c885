package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The CA is a key in a device. ssh-keygen accepts the certificates, and a server and a
// client accept each other with them.
func TestCertificates(t *testing.T) {
	keygen := signertest.Require(t, "openssh", "ssh-keygen")
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca, err := newSigner(key.Open(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		certified := func(command, name string) ssh.Signer {
			t.Helper()
			s, err := ssh.NewSignerFromSigner(signertest.NewKey(t, "p256"))
			if err != nil {
				t.Fatal(err)
			}
			file := guesttest.File(t, "id.pub", ssh.MarshalAuthorizedKey(s.PublicKey()))
			var out bytes.Buffer
			if err := run(t.Context(), command, key.Ref, []string{file, name}, &out); err != nil {
				t.Fatal(err)
			}
			if text := guesttest.Command(t, keygen, "-L", "-f", guesttest.File(t, "id-cert.pub", out.Bytes())); !strings.Contains(text, command+" certificate") || strings.Contains(text, "(using ssh-rsa)") {
				t.Error(text)
			}
			cert, _, _, _, err := ssh.ParseAuthorizedKey(out.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			s, err = ssh.NewCertSigner(cert.(*ssh.Certificate), s)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		isCA := func(other ssh.PublicKey) bool { return bytes.Equal(other.Marshal(), ca.PublicKey().Marshal()) }
		checker := &ssh.CertChecker{
			IsUserAuthority: isCA,
			IsHostAuthority: func(other ssh.PublicKey, _ string) bool { return isCA(other) },
		}
		connect(t, certified("host", "server.example"), certified("user", "alice"), checker.CheckHostKey, checker.Authenticate)
	})
}

// The key in a device is the one of a server and of a client.
func TestSigner(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		opened := key.Open(t, "")
		s, err := newSigner(opened)
		if err != nil {
			t.Fatal(err)
		}
		if key.RSA() {
			old, err := ssh.NewSignerFromSigner(opened)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := old.Sign(rand.Reader, []byte("text")); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("ssh-rsa: %v", err)
			}
		}
		connect(t, s, s, ssh.FixedHostKey(s.PublicKey()), func(_ ssh.ConnMetadata, other ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(other.Marshal(), s.PublicKey().Marshal()) {
				return nil, errors.New("another key")
			}
			return nil, nil
		})
	})
}

// connect fails the test if the client and the server do not accept each other.
func connect(t *testing.T, host, user ssh.Signer, checkHost ssh.HostKeyCallback, checkUser func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error)) {
	t.Helper()
	server := &ssh.ServerConfig{PublicKeyCallback: checkUser}
	server.AddHostKey(host)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		_, _, _, err = ssh.NewServerConn(conn, server)
		served <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _, _, err = ssh.NewClientConn(conn, "server.example:22", &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(user)}, HostKeyCallback: checkHost})
	if err != nil {
		t.Errorf("client: %v", err)
		conn.Close()
	}
	if err := <-served; err != nil {
		t.Errorf("server: %v", err)
	}
}

// ssh-keygen signs a file through the agent, and verifies the signature.
func TestAgent(t *testing.T) {
	keygen := signertest.Require(t, "openssh", "ssh-keygen")
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		dir, err := os.MkdirTemp("", "agent") // the path of a socket must be short
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go serve(key.Open(t, ""), l)

		var public bytes.Buffer
		if err := run(t.Context(), "public", key.Ref, nil, &public); err != nil {
			t.Fatal(err)
		}
		file := guesttest.File(t, "file", []byte("text"))
		sign := exec.Command(keygen, "-Y", "sign", "-n", "file", "-f", guesttest.File(t, "id.pub", public.Bytes()), file)
		sign.Env = append(os.Environ(), "SSH_AUTH_SOCK="+l.Addr().String())
		if out, err := sign.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		allowed := guesttest.File(t, "allowed", append([]byte("alice "), public.Bytes()...))
		verify := exec.Command(keygen, "-Y", "verify", "-n", "file", "-I", "alice", "-f", allowed, "-s", file+".sig")
		verify.Stdin = strings.NewReader("text")
		if out, err := verify.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}
