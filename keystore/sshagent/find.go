package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A listed is a key that an agent lists.
type listed struct {
	blob        []byte // names the key to the agent
	comment     string
	fingerprint sshwire.Fingerprint // as ssh-add -l prints it
	pub         crypto.PublicKey
	certificate bool  // blob is a certificate of OpenSSH
	err         error // why the key cannot serve; pub is nil then
}

// newListed decodes an entry of an agent's list.
func newListed(id sshwire.Identity) listed {
	k := listed{blob: bytes.Clone(id.Blob), comment: id.Comment, fingerprint: sshwire.FingerprintOf(id.Blob)}
	if k.pub, _, k.certificate, k.err = sshwire.ParseCertificate(id.Blob); !k.certificate {
		k.pub, k.err = sshwire.ParsePublicKey(id.Blob)
	}
	if k.err == nil && k.certificate {
		var blob []byte
		if blob, k.err = sshwire.MarshalPublicKey(k.pub); k.err == nil {
			k.fingerprint = sshwire.FingerprintOf(blob)
		}
	}
	if name, _ := sshwire.KeyType(id.Blob); strings.HasPrefix(name, "sk-") {
		k.err = fmt.Errorf("a key of type %s signs a counter and a name in addition to the message, which only SSH understands: %w", name, errors.ErrUnsupported)
	}
	return k
}

// String names the key for errors and hints.
func (k listed) String() string {
	return fmt.Sprintf("%s (%s, %q)", reference(k.fingerprint, ""), signer.DescribeKey(k.pub), keystore.Excerpt(k.comment))
}

// keys returns the keys of the agent.
func (a agent) keys(ctx context.Context) ([]listed, error) {
	contents, err := a.ask(ctx, listLimit, sshwire.RequestIdentities, nil, sshwire.IdentitiesAnswer)
	if err != nil {
		return nil, err
	}
	all, err := decodeList(contents)
	if err != nil {
		return nil, a.named(err)
	}
	return all, nil
}

// decodeList decodes the contents of a list of keys.
func decodeList(contents []byte) (all []listed, err error) {
	ids, err := sshwire.ParseIdentities(contents)
	if err != nil {
		return nil, garbled(err)
	}
	for _, id := range ids {
		all = append(all, newListed(id))
	}
	return all, nil
}

// matching returns the keys that q describes, which may be unable to serve.
func (q query) matching(all []listed) (some []listed) {
	for _, k := range all {
		if (q.fingerprint == nil || *q.fingerprint == k.fingerprint) && (q.comment == "" || q.comment == k.comment) {
			some = append(some, k)
		}
	}
	return some
}

// distinct returns each key once. An agent can also list certificates of OpenSSH for a
// key; a key itself is preferred to them.
func distinct(all []listed) (some []listed) {
	for _, k := range all {
		same := func(other listed) bool { return other.fingerprint == k.fingerprint }
		switch i := slices.IndexFunc(some, same); {
		case i < 0:
			some = append(some, k)
		case some[i].certificate && !k.certificate:
			some[i] = k
		}
	}
	return some
}

// choose returns the key that q and the certificates describe.
func (q query) choose(all []listed, certs []*x509.Certificate) (listed, error) {
	some := distinct(q.matching(all))
	usable := slices.DeleteFunc(slices.Clone(some), func(k listed) bool { return k.err != nil })
	if len(certs) > 0 && (q.isOpen() || len(usable) > 1) {
		usable = slices.DeleteFunc(usable, func(k listed) bool { return !isOfAny(k.pub, certs) })
	}
	switch {
	case len(usable) == 1:
		return usable[0], nil
	case len(usable) > 1:
		return listed{}, ambiguous(usable)
	case len(all) == 0:
		return listed{}, signer.WithHint(fmt.Errorf("%w: the ssh-agent lists no keys", signer.ErrNotFound),
			"add a key with ssh-add; if the agent is locked, ssh-add -X unlocks it")
	case len(some) == 1 && some[0].err != nil && !q.isOpen():
		return listed{}, signer.WithHint(fmt.Errorf("%s: %w", q, some[0].err), "use an RSA key or an ECDSA key on P-256")
	case len(some) == 0:
		return listed{}, notFound(all, "none has %s", q)
	case len(certs) == 0:
		return listed{}, notFound(all, "none is an RSA, ECDSA or Ed25519 key outside of a security key")
	}
	return listed{}, notFound(all, "none is the key of the certificate %q", certs[0].Subject)
}

// notFound is the error for a key that is not among those of the agent.
func notFound(all []listed, format string, args ...any) error {
	plural := "s"
	if len(all) == 1 {
		plural = ""
	}
	return signer.WithHint(fmt.Errorf("%w: the ssh-agent lists %d key%s, and %s", signer.ErrNotFound, len(all), plural, fmt.Sprintf(format, args...)),
		"this shows the keys of the agent: ssh-add -l")
}

// maxShown is how many keys a hint shows.
const maxShown = 5

func ambiguous(keys []listed) error {
	var shown []string
	for _, k := range keys[:min(len(keys), maxShown)] {
		shown = append(shown, k.String())
	}
	if more := len(keys) - maxShown; more > 0 {
		shown = append(shown, fmt.Sprintf("%d more", more))
	}
	return signer.WithHint(fmt.Errorf("%w: %d keys of the ssh-agent", signer.ErrAmbiguous, len(keys)),
		"choose one by its certificate or fingerprint: "+strings.Join(shown, ", "))
}

// isOfAny reports whether one of the certificates is for pub.
func isOfAny(pub crypto.PublicKey, certs []*x509.Certificate) bool {
	return slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return signer.SamePublicKey(signer.PublicKeyOf(c), pub) })
}
