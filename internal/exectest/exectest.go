// Package exectest is a program that signs with the key in a file, as docs/exec.md
// describes, for tests of package keystore/program and of what uses it. The test binary
// itself is the program: its TestMain calls [Main].
package exectest

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Name is the name under which a test binary is the program, without the ending of
// Windows.
const Name = "holdfast-test-signer"

// Main runs the program and ends the process, if it was started under the name of the
// program. Otherwise it does nothing.
func Main() {
	if base := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"); base != Name {
		return
	}
	if err := Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Install puts the program into a folder of the test and returns its path.
func Install(tb testing.TB) string { return InstallAs(tb, Name) }

// InstallAs puts the test binary into a folder of the test under another name.
func InstallAs(tb testing.TB, name string) string {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), name)
	if runtime.GOOS != "windows" {
		err = os.Symlink(self, path)
	} else {
		path += ".exe" // a copy: a link to a program that runs cannot be removed
		var data []byte
		if data, err = os.ReadFile(self); err == nil {
			err = os.WriteFile(path, data, 0o700)
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// A Request is a line for the program.
type Request struct {
	ID         uint64 `json:"id"`
	Request    string `json:"request"`
	Version    int    `json:"version"`
	Key        string `json:"key"`
	Algorithm  string `json:"algorithm"`
	SaltLength int    `json:"salt_length"`
	Digest     []byte `json:"digest"`
	Message    []byte `json:"message"`
	PIN        string `json:"pin"`
}

// An Answer is a line of the program.
type Answer struct {
	ID           uint64   `json:"id"`
	Version      int      `json:"version,omitempty"`
	PublicKey    []byte   `json:"public_key,omitempty"`
	Certificates [][]byte `json:"certificates,omitempty"`
	Input        string   `json:"input,omitempty"`
	Algorithms   []string `json:"algorithms,omitempty"`
	Signature    []byte   `json:"signature,omitempty"`
	Error        *Error   `json:"error,omitempty"`
}

// An Error is an answer that is none.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// A Signer is the state of the program.
type Signer struct {
	Key   crypto.Signer
	Certs [][]byte
	Input string
}

// Serve answers requests until r ends. The text key= is the name of a PEM file with the
// private key in PKCS #8 and certificates. With "message:" before it, the program takes
// messages. The names of algorithms and @ at the beginning limit the signatures.
func Serve(r io.Reader, w io.Writer) error {
	var s Signer
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var q Request
		if err := json.Unmarshal(line, &q); err != nil {
			return err
		}
		answer, err := json.Marshal(s.Answer(q))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(answer, '\n')); err != nil {
			return err
		}
	}
}

// Answer answers a request.
func (s *Signer) Answer(q Request) Answer {
	var a Answer
	var err error
	if q.Request == "open" {
		a, err = s.open(q)
	} else {
		a.Signature, err = s.Sign(q)
	}
	a.ID = q.ID
	if err != nil {
		return Answer{ID: q.ID, Error: &Error{Code: "unsupported", Message: err.Error()}}
	}
	return a
}

func (s *Signer) open(q Request) (Answer, error) {
	var listed []string
	if names, rest, ok := strings.Cut(q.Key, "@"); ok {
		listed, q.Key = strings.Split(names, ","), rest
	}
	path, messages := strings.CutPrefix(q.Key, "message:")
	data, err := os.ReadFile(path)
	if err != nil {
		return Answer{}, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			s.Certs = append(s.Certs, block.Bytes)
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return Answer{}, err
		}
		s.Key = key.(crypto.Signer)
	}
	if s.Key == nil {
		return Answer{}, errors.New("the file has no key")
	}
	s.Input = "digest"
	if _, ok := s.Key.(ed25519.PrivateKey); ok || messages {
		s.Input = "message"
	}
	spki, err := x509.MarshalPKIXPublicKey(s.Key.Public())
	return Answer{Version: 1, PublicKey: spki, Certificates: s.Certs, Input: s.Input, Algorithms: listed}, err
}

// hashes are the hashes at the end of the names of algorithms.
var hashes = []struct {
	suffix string
	hash   crypto.Hash
}{{"_sha256", crypto.SHA256}, {"_sha384", crypto.SHA384}, {"_sha512", crypto.SHA512}}

// Sign makes a signature.
func (s *Signer) Sign(q Request) ([]byte, error) {
	var opts crypto.SignerOpts = crypto.Hash(0)
	for _, h := range hashes {
		if strings.HasSuffix(q.Algorithm, h.suffix) {
			opts = h.hash
		}
	}
	if strings.HasPrefix(q.Algorithm, "rsa_pss_") {
		opts = &rsa.PSSOptions{SaltLength: q.SaltLength, Hash: opts.HashFunc()}
	}
	if s.Input == "digest" {
		return s.Key.Sign(rand.Reader, q.Digest, opts)
	}
	if len(q.Digest) > 0 {
		return nil, errors.New("got a digest")
	}
	return crypto.SignMessage(s.Key, rand.Reader, q.Message, opts)
}

// PEM returns the contents of a file for the program.
func PEM(tb testing.TB, key crypto.Signer, certs ...*x509.Certificate) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	all := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range certs {
		all = slices.Concat(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return bytes.TrimSpace(all)
}
