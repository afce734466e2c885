package sshagent

import (
	"context"
	"crypto/x509"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

const scheme = "sshagent"

// Backend opens "sshagent:" references. It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return scheme }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{scheme} }

// Open implements [keystore.Backend]. It asks the agent for its keys, but for no
// signature. A reference that names no key takes the key of one of call.Certificates;
// without certificates, the agent must have exactly one key that can serve.
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	q, a, err := prepare(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	all, err := a.keys(ctx)
	if err != nil {
		return nil, err
	}
	chosen, err := q.choose(all, call.Certificates)
	if err != nil {
		return nil, err
	}
	return newKey(a, chosen), nil
}

// Certificates implements [keystore.CertificateReader]. It fails, because the
// certificates in an agent are those of OpenSSH, which are not X.509.
func (Backend) Certificates(context.Context, keystore.Ref, keystore.Call) ([]*x509.Certificate, error) {
	return nil, signer.WithHint(signer.ErrNoCertificate, "an ssh-agent has no X.509 certificates: name the file of the certificate")
}

// List implements [keystore.Lister]. It lists the keys that can serve and match ref. The
// references of the entries name the socket only if ref does.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) (entries []keystore.Entry, err error) {
	q, a, err := prepare(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	all, err := a.keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range distinct(q.matching(all)) {
		if k.err == nil {
			entries = append(entries, keystore.Entry{Ref: reference(k.fingerprint, q.socket), Kind: keystore.KeyEntry, Public: k.pub})
		}
	}
	return entries, nil
}

// Uses implements [keystore.Dependent]. The socket is where the device is, and so is the
// variable SSH_AUTH_SOCK.
func (Backend) Uses(ref keystore.Ref) keystore.Uses {
	return keystore.UsesOfAttributes(ref.Rest, ";", "public")
}

// Rebase implements [keystore.Rebaser] for the paths of the socket and of the public key.
func (Backend) Rebase(ref keystore.Ref, dir string) keystore.Ref {
	return keystore.RebaseAttributes(ref, dir, "socket", "public")
}

// Advice implements [keystore.Adviser].
func (Backend) Advice() string {
	return "make a key with ssh-keygen -t ecdsa -b 256 -f NAME and add it with ssh-add NAME; see docs/ssh-agent.md"
}
