package sshagent

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
)

// question returns the text of --confirm for a signature of a message.
func (s *session) question(id identity, message []byte) string {
	return fmt.Sprintf("Allow use of key %s?\nKey fingerprint %s.\n%s.", front.OneLine(id.Comment), id.fingerprint, s.purpose(id, message))
}

// purpose says what the message of a signature is. It names a host only if the message
// is for the session that the host has signed: a client can bind any others before.
func (s *session) purpose(id identity, message []byte) string {
	if namespace, ok := parseFileSignature(message); ok {
		return fmt.Sprintf("Signature of a file or a commit for %s", named(namespace))
	}
	l, ok := parseLogin(message)
	if !ok || !bytes.Equal(l.key, id.Blob) {
		return "Signature of data that is neither a login nor a file"
	}
	if n := len(s.bound); n > 0 {
		last := s.bound[n-1]
		if bytes.Equal(l.session, last.id) && (l.host == nil || sshwire.FingerprintOf(l.host).String() == last.host) {
			return fmt.Sprintf("Login as %s at the host with the key %s", named(l.user), last.host)
		}
	}
	return fmt.Sprintf("Login as %s at a host that is not known", named(l.user))
}

// A login is what a client signs to log in (RFC 4252, section 7).
type login struct {
	session   []byte
	user      string
	key, host []byte // host is nil unless the method is hostBound
}

const (
	userAuthRequest = 50 // SSH_MSG_USERAUTH_REQUEST

	// hostBound is the method with the key of the host (OpenSSH's PROTOCOL, section 2.6).
	hostBound = "publickey-hostbound-v00@openssh.com"
)

// parseLogin parses the data of a login. ok means that it is nothing else.
func parseLogin(message []byte) (l login, ok bool) {
	r := sshwire.NewReader(message)
	l.session = r.Bytes()
	kind := r.Byte()
	l.user = r.Text()
	service, method, signed := r.Text(), r.Text(), r.Bool()
	r.Text() // the algorithm, which the flags of the request decide
	l.key = r.Bytes()
	if method == hostBound {
		l.host = r.Bytes()
	}
	ok = kind == userAuthRequest && service == "ssh-connection" && (method == "publickey" || method == hostBound) && signed
	return l, r.End() == nil && ok
}

// parseFileSignature returns the namespace of the data that ssh-keygen -Y sign and git
// sign (OpenSSH's PROTOCOL.sshsig, section 3).
func parseFileSignature(message []byte) (namespace string, ok bool) {
	rest, ok := bytes.CutPrefix(message, []byte("SSHSIG"))
	r := sshwire.NewReader(rest)
	namespace = r.Text()
	r.Bytes() // reserved
	r.Text()  // the hash
	r.Bytes() // the digest
	return namespace, ok && r.End() == nil
}

// named returns a name that a client has chosen, so that it cannot be taken for another
// part of the question.
func named(name string) string {
	const most = 64 // bytes
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return fmt.Sprintf("%q", front.OneLine(name))
}
