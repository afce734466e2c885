//go:build unix

package sshagent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
)

// loginData returns what a client signs to log in.
func loginData(session, user, method string, key, host []byte) []byte {
	var b sshwire.Builder
	b.Text(session)
	b.Byte(userAuthRequest)
	b.Text(user)
	b.Text("ssh-connection")
	b.Text(method)
	b.Bool(true)
	b.Text("ssh-ed25519")
	b.Bytes(key)
	if method == hostBound {
		b.Bytes(host)
	}
	return b.Data()
}

func fileData(namespace string) []byte {
	var b sshwire.Builder
	b.Raw([]byte("SSHSIG"))
	b.Text(namespace)
	b.Text("")
	b.Text("sha512")
	b.Text(strings.Repeat("h", 64))
	return b.Data()
}

// TestQuestion: a client that has bound hosts asks for signatures that are not for them.
func TestQuestion(t *testing.T) {
	first, second := fake(t, "p256"), fake(t, "p384")
	a := newAgent(t, fake(t, "ed25519"))
	asked := ""
	a.confirm = func(_ context.Context, question string) error {
		asked = question
		return errors.New("no")
	}
	id := a.list()[0]
	firstBlob, err := sshwire.MarshalPublicKey(first.Public())
	if err != nil {
		t.Fatal(err)
	}
	secondBlob, err := sshwire.MarshalPublicKey(second.Public())
	if err != nil {
		t.Fatal(err)
	}
	firstName, secondName := sshwire.FingerprintOf(firstBlob).String(), sshwire.FingerprintOf(secondBlob).String()
	unbound, bound := &session{agent: a}, &session{agent: a}
	for _, request := range [][]byte{bindRequest(t, first, "A", "A", true), bindRequest(t, second, "B", "B", true)} {
		if kind, _ := bound.answer(t.Context(), sshwire.Extension, request); kind != sshwire.Success {
			t.Fatalf("type %d", kind)
		}
	}
	unknown, other := `Login as "root" at a host that is not known.`, "Signature of data that is neither a login nor a file."
	plain := loginData("B", "root", "publickey", id.Blob, nil)
	for _, c := range []struct {
		name string
		s    *session
		data []byte
		want string
	}{
		{"session of the last host", bound, plain, `Login as "root" at the host with the key ` + secondName + "."},
		{"with the key of the host", bound, loginData("B", "root", hostBound, id.Blob, secondBlob), `Login as "root" at the host with the key ` + secondName + "."},
		{"another session", bound, loginData("C", "root", "publickey", id.Blob, nil), unknown},
		{"session of the machine between", bound, loginData("A", "root", "publickey", id.Blob, nil), unknown},
		{"key of another host", bound, loginData("B", "root", hostBound, id.Blob, firstBlob), unknown},
		{"not bound", unbound, plain, unknown},
		{"git", bound, fileData("git"), `Signature of a file or a commit for "git".`},
		{"a namespace with lines", bound, fileData("x\".\nLogin\x1b[0m " + strings.Repeat("y", 1000)), `Signature of a file or a commit for "x\".; Login?[0m ` + strings.Repeat("y", 64-len("x\".\nLogin\x1b[0m ")) + `…".`},
		{"login with another key", bound, loginData("B", "root", "publickey", firstBlob, nil), other},
		{"another method", bound, loginData("B", "root", "hostbased", id.Blob, nil), other},
		{"bytes after the login", bound, append(plain[:len(plain):len(plain)], 0), other},
		{"file cut off", bound, fileData("git")[:40], other},
		{"empty", bound, nil, other},
	} {
		kind, _ := c.s.answer(t.Context(), sshwire.SignRequest, sshwire.Signing{Blob: id.Blob, Message: c.data}.Marshal())
		last := asked[strings.LastIndex(asked, "\n")+1:]
		if kind != sshwire.Failure || last != c.want || strings.Count(asked, "\n") != 2 || strings.Contains(asked, firstName) {
			t.Errorf("%s: type %d, %q, want %q", c.name, kind, asked, c.want)
		}
	}
}
