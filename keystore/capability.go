package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// Optional capabilities of a Backend.
type (
	// A Generator generates key pairs. The private key never leaves the
	// device; a key in a file is only as safe as the file.
	Generator interface {
		Backend
		// Generate generates a key pair with the name in ref and
		// returns the key. It fails with fs.ErrExist if ref names an
		// existing key.
		Generate(ctx context.Context, ref Ref, spec KeySpec, call Call) (Key, error)
	}

	// A Rekeyer generates keys that take the place of others.
	Rekeyer interface {
		Generator
		// GenerateSuccessor generates a key beside the one that ref
		// names, whose public key is old: with the same protection, in
		// the same device with a name that ref also matches, or in a
		// file with the suffix SuccessorSuffix. If the successor of this
		// key exists, it returns that. It fails with
		// errors.ErrUnsupported if no key can take the place of the
		// one that ref names.
		GenerateSuccessor(ctx context.Context, ref Ref, spec KeySpec, old crypto.PublicKey, call Call) (Key, error)
	}

	// A Lister lists the entries of its stores.
	Lister interface {
		Backend
		// List returns the entries below ref; an empty Rest means all.
		// It asks for a PIN only to list hidden objects, and only if
		// call.PIN is set.
		//
		// If a token, a store or an entry cannot be read, List returns
		// the other entries together with an error that names it. If
		// the error is nil, the list is complete.
		List(ctx context.Context, ref Ref, call Call) ([]Entry, error)
	}

	// An Installer stores certificates in the device of their key.
	Installer interface {
		Backend
		// Install stores certificates for the key that ref names, and
		// ignores in.File. Before it writes anything, it verifies a
		// signature of the key with the certificate. It stores the
		// certificate of the key after those of the issuers and reads
		// them back; only then, and only with in.Replace, it removes
		// other certificates of the key. A process that is killed
		// leaves the old certificate, the new one or both. Install
		// fails with signer.ErrNoCertificate if there are none, and
		// with signer.ErrMismatch if none is for the key.
		Install(ctx context.Context, ref Ref, in Installation, call Call) (Installed, error)
	}

	// A CertificateChecker recognizes certificates of other keys without a
	// PIN.
	CertificateChecker interface {
		Backend
		// CheckCertificates fails with signer.ErrMismatch if the device
		// shows, before a login, that no certificate is for the key of
		// ref. It returns nil if it cannot know that.
		CheckCertificates(ctx context.Context, ref Ref, certs []*x509.Certificate, call Call) error
	}

	// An Adviser names other programs that manage the keys of its
	// references.
	Adviser interface {
		Backend
		// Advice returns one sentence. The Store uses it as the hint if
		// the Backend lacks a capability.
		Advice() string
	}

	// A Dependent reports what its references use outside of devices. A
	// Backend whose references name a file, a variable or a PIN source must
	// implement it. Otherwise files are not watched, and variables with
	// secrets are passed to other programs.
	Dependent interface {
		Backend
		// Uses reads only the text of ref and opens nothing. If ref is
		// malformed, Uses reports the parts that it can parse. It does
		// not follow PIN sources; the Store does.
		Uses(ref Ref) Uses
	}

	// An AttributeSetter has attributes that can be given separately from a
	// reference, for example by a flag that is a default for all
	// references.
	AttributeSetter interface {
		Backend
		// SetAttribute adds an attribute with a non-empty value. It
		// does not change the rest of ref, even if that is malformed.
		// It returns ref unchanged if ref already has the attribute or
		// another one that excludes it. It fails with
		// errors.ErrUnsupported if the attribute cannot be set.
		SetAttribute(ref Ref, name, value string) (Ref, error)
	}

	// A PINSharer has devices with keys and certificates, of which only the
	// keys need a PIN.
	PINSharer interface {
		Backend
		// SharePIN returns key with the PIN or the PIN source in
		// certificate. It returns key unchanged if key has one itself,
		// if certificate has none, or unless both name the same device
		// in the same words: no other device may receive the PIN.
		SharePIN(key, certificate Ref) Ref
	}

	// A Rebaser has references that can contain relative paths.
	Rebaser interface {
		Backend
		// Rebase returns ref with a relative path resolved against dir.
		// It returns any other ref unchanged.
		Rebase(ref Ref, dir string) Ref
	}

	// A Sealer stores secrets that only its Unsealer can recover.
	Sealer interface {
		Backend
		// Seal stores secret under the name in ref, which must not
		// exist. It borrows secret.
		Seal(ctx context.Context, ref Ref, secret []byte, call Call) error
	}

	// An Unsealer recovers sealed secrets, such as a PIN that is sealed to
	// one machine.
	Unsealer interface {
		Backend
		// Unseal returns the secret that ref names. The caller owns it.
		Unseal(ctx context.Context, ref Ref, call Call) ([]byte, error)
	}
)

// A Key is a Signer with a reference.
type Key interface {
	signer.Signer
	// Ref returns a reference that opens the key again, also in another
	// process. It contains no PIN, but it can contain a PIN source.
	Ref() Ref
}

// A KeySpec describes a key to generate.
type KeySpec struct {
	Type KeyType
}

// A KeyType is a key algorithm and a key size or curve.
type KeyType string

// The key types. No backend supports all of them.
const (
	RSA2048 KeyType = "rsa2048"
	RSA3072 KeyType = "rsa3072"
	RSA4096 KeyType = "rsa4096"
	P256    KeyType = "p256"
	P384    KeyType = "p384"
	P521    KeyType = "p521"
	Ed25519 KeyType = "ed25519"
)

// KeyTypes returns all types that Generate can make. Open accepts others, too;
// signer.DescribeKey names the type of any key.
func KeyTypes() []KeyType {
	return []KeyType{RSA2048, RSA3072, RSA4096, P256, P384, P521, Ed25519}
}

// KeyTypeOf returns the type of a public key. ok is false if it is none of
// [KeyTypes].
func KeyTypeOf(pub crypto.PublicKey) (t KeyType, ok bool) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		t = KeyType(fmt.Sprintf("rsa%d", pub.N.BitLen()))
	case *ecdsa.PublicKey:
		t = map[elliptic.Curve]KeyType{elliptic.P256(): P256, elliptic.P384(): P384, elliptic.P521(): P521}[pub.Curve]
	case ed25519.PublicKey:
		t = Ed25519
	}
	return t, slices.Contains(KeyTypes(), t)
}

// An Entry is a token, a key or a certificate in a store.
type Entry struct {
	Ref         Ref // opens the entry; can be pasted into a command
	Kind        EntryKind
	Public      crypto.PublicKey  // of a KeyEntry, unless the store does not reveal it
	Certificate *x509.Certificate // of a CertificateEntry or an AttestationEntry

	// Comment is a text that people gave a KeyEntry, such as the comment of a key in
	// an ssh-agent. It can be empty, and contain any characters.
	Comment string

	// Plaintext means that the private key of a KeyEntry can be read
	// without a password.
	Plaintext bool

	// Encrypted means that the Public of a KeyEntry is missing because the
	// key is encrypted and no password was given.
	Encrypted bool
}

// KindOf returns the kind of the entry of a certificate.
func KindOf(c *x509.Certificate) EntryKind {
	if signer.IsAttestation(c) {
		return AttestationEntry
	}
	return CertificateEntry
}

// An EntryKind is the kind of an Entry.
type EntryKind string

// The kinds of entries.
const (
	TokenEntry       EntryKind = "token"
	KeyEntry         EntryKind = "key"
	CertificateEntry EntryKind = "certificate"
	AttestationEntry EntryKind = "attestation" // a certificate; see signer.IsAttestation
)
