package sshagent

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// listOf returns the entry of an agent's list for a key.
func listOf(tb testing.TB, pub crypto.PublicKey, comment string) listed {
	tb.Helper()
	blob, err := sshwire.MarshalPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return newListed(sshwire.Identity{Blob: blob, Comment: comment})
}

// certified returns the blob of a certificate of OpenSSH.
func certified(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := ssh.NewSignerFromSigner(signertest.Key(tb, "ed25519"))
	if err != nil {
		tb.Fatal(err)
	}
	c := &ssh.Certificate{Key: key, Serial: 1, CertType: ssh.UserCert, KeyId: "id", ValidPrincipals: []string{"user"}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		tb.Fatal(err)
	}
	return c.Marshal()
}

func skBlob() []byte {
	var b sshwire.Builder
	b.Text("sk-ssh-ed25519@openssh.com")
	b.Bytes(make([]byte, ed25519.PublicKeySize))
	b.Text("ssh:")
	return b.Data()
}

func TestChoose(t *testing.T) {
	one, two, p384 := signertest.NewKey(t, "p256"), signertest.NewKey(t, "p256"), signertest.Key(t, "p384")
	ca := signertest.NewCA(t, "root")
	certOf := func(key crypto.Signer) []*x509.Certificate { return append(ca.Chain(), ca.Issue(t, key, nil)) }
	k1, k2, k3 := listOf(t, one.Public(), "one"), listOf(t, two.Public(), "two\x1b[2J"), listOf(t, p384.Public(), "one")
	c1 := newListed(sshwire.Identity{Blob: certified(t, one.Public()), Comment: "certificate"})
	sk := newListed(sshwire.Identity{Blob: skBlob(), Comment: "security key"})
	odd := newListed(sshwire.Identity{Blob: []byte("no key"), Comment: "odd"})
	for _, c := range []struct {
		name  string
		query query
		keys  []listed
		certs []*x509.Certificate
		want  *listed
		err   error
		text  string // of the error or its hint
	}{
		{"the only key", query{}, []listed{k1}, nil, &k1, nil, ""},
		{"the only key that can serve", query{}, []listed{sk, k1, odd}, nil, &k1, nil, ""},
		{"two keys", query{}, []listed{k1, k2}, nil, nil, signer.ErrAmbiguous, k2.fingerprint.String()[len("SHA256:"):]},
		{"no key", query{}, nil, nil, nil, signer.ErrNotFound, "ssh-add -X"},
		{"no key for the certificate", query{}, nil, certOf(one), nil, signer.ErrNotFound, "ssh-add -X"},
		{"only a security key", query{}, []listed{sk}, nil, nil, signer.ErrNotFound, "security key"},
		{"certificate selects", query{}, []listed{k1, k2, k3}, certOf(two), &k2, nil, ""},
		{"certificate of none", query{}, []listed{k1, k3}, certOf(two), nil, signer.ErrNotFound, "2 keys"},
		{"certificate of none of one", query{}, []listed{k1}, certOf(two), nil, signer.ErrNotFound, "1 key,"},
		{"certificates of two", query{}, []listed{k1, k2}, append(certOf(one), certOf(two)...), nil, signer.ErrAmbiguous, "2 keys"},
		{"fingerprint", query{fingerprint: &k2.fingerprint}, []listed{k1, k2}, nil, &k2, nil, ""},
		{"fingerprint, not the certificate", query{fingerprint: &k2.fingerprint}, []listed{k1, k2}, certOf(one), &k2, nil, ""},
		{"fingerprint of none", query{fingerprint: &k2.fingerprint}, []listed{k1}, nil, nil, signer.ErrNotFound, k2.fingerprint.String()},
		{"fingerprint of a security key", query{fingerprint: &sk.fingerprint}, []listed{k1, sk}, nil, nil, errors.ErrUnsupported, "sk-ssh-ed25519@openssh.com"},
		{"fingerprint of an unknown key", query{fingerprint: &odd.fingerprint}, []listed{k1, odd}, nil, nil, nil, "public key"},
		{"comment", query{comment: "two\x1b[2J"}, []listed{k1, k2}, nil, &k2, nil, ""},
		{"comment of none", query{comment: "on"}, []listed{k1, k2}, nil, nil, signer.ErrNotFound, `comment "on"`},
		{"comment of two", query{comment: "one"}, []listed{k1, k2, k3}, nil, nil, signer.ErrAmbiguous, "2 keys"},
		{"comment of two, one certificate", query{comment: "one"}, []listed{k1, k2, k3}, certOf(p384), &k3, nil, ""},
		{"comment and fingerprint", query{comment: "one", fingerprint: &k3.fingerprint}, []listed{k1, k3}, nil, &k3, nil, ""},
		{"key before its certificate", query{}, []listed{c1, k1}, nil, &k1, nil, ""},
		{"key after its certificate", query{}, []listed{k1, c1}, nil, &k1, nil, ""},
		{"certificate of OpenSSH alone", query{fingerprint: &k1.fingerprint}, []listed{c1, k2}, nil, &c1, nil, ""},
		{"certificate of OpenSSH by comment", query{comment: "certificate"}, []listed{k1, c1}, nil, &c1, nil, ""},
	} {
		got, err := c.query.choose(c.keys, c.certs)
		switch {
		case c.want != nil:
			if err != nil || !bytes.Equal(got.blob, c.want.blob) || !signer.SamePublicKey(got.pub, c.want.pub) {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
		case err == nil || c.err != nil && !errors.Is(err, c.err) || !strings.Contains(err.Error()+signer.Hint(err), c.text) || signer.Hint(err) == "":
			t.Errorf("%s: error %v, hint %q", c.name, err, signer.Hint(err))
		}
		if err != nil && strings.ContainsAny(err.Error()+signer.Hint(err), "\x1b\n") {
			t.Errorf("%s: %q", c.name, err)
		}
	}
	many := make([]listed, 100)
	for i := range many {
		many[i] = listOf(t, signertest.NewKey(t, "p256").Public(), strings.Repeat("x", 1000))
	}
	_, err := query{}.choose(many, nil)
	if hint := signer.Hint(err); !errors.Is(err, signer.ErrAmbiguous) || !strings.HasSuffix(hint, "95 more") || len(hint) > 2500 {
		t.Errorf("100 keys: %v, hint %q", err, hint)
	}
}

// TestReferences opens keys of a real agent in each way.
func TestReferences(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	ecKey, edKey := signertest.Key(t, "p256"), signertest.Key(t, "ed25519")
	agent.Add(ecKey, "a key; with %")
	agent.Add(edKey, "other")
	line := agent.Run("-L")
	dir := t.TempDir()
	file := filepath.Join(dir, "id.pub")
	if err := os.WriteFile(file, []byte(line[:strings.IndexByte(line, '\n')]), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := strings.Fields(agent.Run("-l"))[1]
	if shown != fingerprintOf(t, ecKey.Public()).String() {
		t.Fatalf("ssh-add -l: %s", shown)
	}
	bare := strings.TrimPrefix(shown, "SHA256:")
	env := keystore.Options{LookupEnv: func(name string) (string, bool) {
		return map[string]string{socketVariable: agent.Socket}[name], name == socketVariable
	}}
	store := keystore.New(Backend{})
	for _, c := range []struct {
		rest string
		want crypto.Signer // nil: an error
	}{
		{"sha256=" + bare, ecKey},
		{"sha256=" + shown, ecKey},
		{"sha256=" + bare + "=", ecKey},
		{"comment=a key%3B with %25", ecKey},
		{"comment=other", edKey},
		{"public=" + file, ecKey},
		{"public=id.pub", ecKey},
		{"public=id.pub;comment=other", nil},
		{"comment=nobody", nil},
		{"", nil},
	} {
		ref := store.Rebase(keystore.Ref{Scheme: scheme, Rest: c.rest}, dir)
		s, err := store.Open(t.Context(), ref, env)
		if c.want == nil {
			if err == nil || signer.Hint(err) == "" {
				t.Errorf("%s: error %v, hint %q", ref, err, signer.Hint(err))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		again, err := store.Open(t.Context(), s.(keystore.Key).Ref(), keystore.Options{})
		if err != nil || !signer.SamePublicKey(s.Public(), c.want.Public()) || !signer.SamePublicKey(again.Public(), c.want.Public()) {
			t.Errorf("%s: another key, %v", ref, err)
		}
	}
	entries, err := store.List(t.Context(), keystore.Ref{Scheme: scheme}, env)
	if err != nil || len(entries) != 2 || entries[0].Ref.String() != "sshagent:sha256="+bare || entries[0].Kind != keystore.KeyEntry || !signer.SamePublicKey(entries[0].Public, ecKey.Public()) {
		t.Errorf("%v, %v", entries, err)
	}
	entries, err = store.List(t.Context(), keystore.Ref{Scheme: scheme, Rest: "comment=other;socket=" + agent.Socket}, keystore.Options{})
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if s, err := store.Open(t.Context(), entries[0].Ref, keystore.Options{}); err != nil || !signer.SamePublicKey(s.Public(), edKey.Public()) {
		t.Errorf("%s: %v", entries[0].Ref, err)
	}
	if _, err := store.Certificates(t.Context(), keystore.Ref{Scheme: scheme}, env); !errors.Is(err, signer.ErrNoCertificate) {
		t.Errorf("certificates: %v", err)
	}
}

func TestBadReferences(t *testing.T) {
	for _, rest := range []string{
		"x", "/run/agent", "sha256=x", "sha256=", "sha256=MD5:00", "sha256=" + strings.Repeat("A", 43) + ";public=f",
		"pin-value=1234", "socket=a;socket=b", "comment=%zz", ";",
	} {
		ref := keystore.Ref{Scheme: scheme, Rest: rest}
		var refErr *keystore.RefError
		_, err := Backend{}.Open(t.Context(), ref, keystore.Call{})
		if !errors.As(err, &refErr) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %v", rest, err)
		}
		if _, err := (Backend{}).List(t.Context(), ref, keystore.Call{}); !errors.As(err, &refErr) {
			t.Errorf("list %s: %v", rest, err)
		}
	}
	_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "/run/agent"}, keystore.Call{})
	if hint := signer.Hint(err); !strings.Contains(hint, "sshagent:socket=/run/agent") {
		t.Errorf("hint %q", hint)
	}
	private := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(private, signertest.KeyPEM(t, signertest.Key(t, "p256")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{private, private + ".none"} {
		_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "public=" + file}, keystore.Call{})
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
