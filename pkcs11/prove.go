package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// A candidate is a private key with the public keys that can belong to it.
type candidate struct {
	object
	pubs []crypto.PublicKey
	own  bool // the only one was read from the private key itself
}

// key returns the candidate with one of its public keys.
func (c candidate) key(i int) keyObject {
	return keyObject{object: c.object, pub: c.pubs[i], own: c.own, alwaysAuthenticate: isTrue(c.values[ckaAlwaysAuthenticate])}
}

// candidatesOf finds the public keys of private keys: in the objects of the
// token, in certificates on the token with the ID of the key, or in the
// certificates of known that can belong to it. certs and certObjects are the
// certificates on the token and their objects. The error is that of the only
// key.
func candidatesOf(mod module, session uint, keys []object, certs []*x509.Certificate, certObjects []object, known []*x509.Certificate) ([]candidate, error) {
	var all []candidate
	for _, o := range keys {
		c, err := candidateOf(mod, session, o, certs, certObjects, known)
		switch {
		case err == nil:
			all = append(all, c)
		case len(keys) == 1 || lostWhileReading(err):
			return nil, err
		}
	}
	return all, nil
}

func candidateOf(mod module, session uint, o object, certs []*x509.Certificate, certObjects []object, known []*x509.Certificate) (c candidate, err error) {
	c.object = o
	if c.pubs, c.own, err = publicsFromToken(mod, session, o); err != nil || len(c.pubs) > 0 {
		return c, err
	}
	for i, cert := range certObjects {
		if len(o.id) > 0 && bytes.Equal(cert.id, o.id) && mayMatch(o, certs[i].PublicKey) {
			c.pubs = addPublic(c.pubs, certs[i].PublicKey)
		}
	}
	if len(c.pubs) > 0 {
		return c, nil
	}
	for _, cert := range known {
		if !cert.IsCA && mayMatch(o, cert.PublicKey) {
			c.pubs = addPublic(c.pubs, cert.PublicKey)
		}
	}
	if len(c.pubs) == 0 {
		err = signer.WithHint(errNoPublicKey,
			"write the certificate to the token with the ID of the key, or give it with Config.Certificates")
	}
	return c, err
}

var errNoPublicKey = errors.New("the token does not provide the public key of the private key")

// maxProofs bounds the signatures that prove makes.
const maxProofs = 8

// prove chooses between candidates that only a signature can tell apart: it
// signs random data with each, and returns the one whose signature one of its
// public keys verifies. If there are several private keys, its public key must
// be in one of known. Keys that need a PIN for each signature cannot be proven.
func prove(mod module, session uint, candidates []candidate, several bool, known []*x509.Certificate) (proven keyObject, ok bool) {
	signatures := 0
	for _, c := range candidates {
		for i := range c.pubs {
			key := c.key(i)
			switch {
			case several && !certifies(known, key.pub):
				continue
			case key.alwaysAuthenticate || signatures == maxProofs:
				return keyObject{}, false
			}
			signatures++
			if !key.own && !signsFor(mod, session, key) {
				continue
			}
			if ok && !signer.SamePublicKey(proven.pub, key.pub) {
				return keyObject{}, false
			}
			key.own = true
			proven, ok = key, true
		}
	}
	return proven, ok
}

// signsFor reports whether key signs for its public key.
func signsFor(mod module, session uint, key keyObject) bool {
	digest, request := proofFor(key.pub)
	op, err := operationFor(key.pub, request, slices.Clone(digest))
	if err != nil {
		return false
	}
	sig, err := mod.sign(session, key.handle, op.mechanism, op.input, nil)
	if err != nil {
		return false
	}
	sig, err = op.finish(sig)
	return err == nil && signer.Verifies(key.pub, request, digest, sig)
}

// proofFor returns the digest of random data, and a signature of it that keys of
// the type of pub make.
func proofFor(pub crypto.PublicKey) (digest []byte, request signer.Mechanism) {
	message := make([]byte, 32)
	_, _ = rand.Read(message) // never fails
	sum := sha256.Sum256(message)
	switch pub.(type) {
	case ed25519.PublicKey:
		return sum[:], signer.Mechanism{}
	case *ecdsa.PublicKey:
		return sum[:], signer.Mechanism{Hash: crypto.SHA256}
	}
	return sum[:], signer.Mechanism{Padding: signer.PKCS1v15, Hash: crypto.SHA256}
}
