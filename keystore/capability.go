package keystore

import (
	"context"
	"crypto"
	"crypto/x509"

	"github.com/holdfast-dev/holdfast/signer"
)

// Capabilities that a Backend may also have.
type (
	// A Generator makes a key pair where ref says, which must not name an
	// existing key (fs.ErrExist), and returns the new key. The private half
	// never leaves the device.
	Generator interface {
		Backend
		Generate(ctx context.Context, ref Ref, spec KeySpec, call Call) (Key, error)
	}

	// A Lister tells what there is below ref, whose empty rest means
	// everything. It asks for a PIN only to see what is hidden without, and
	// only if call.PIN is set.
	//
	// A token, store or entry that cannot be read hides no other: List returns
	// what it has read and, beside it, an error that names what it has not.
	// Without an error nothing is left out.
	Lister interface {
		Backend
		List(ctx context.Context, ref Ref, call Call) ([]Entry, error)
	}

	// An Installer puts a chain, leaf first, beside the key that ref names,
	// and removes nothing. It borrows chain. It fails with
	// signer.ErrNoCertificate if chain is empty and with signer.ErrMismatch if
	// the leaf is for another key; where one certificate is taken without being
	// named, with fs.ErrExist if that would not be the new one.
	Installer interface {
		Backend
		Install(ctx context.Context, ref Ref, chain []*x509.Certificate, call Call) error
	}

	// An Adviser says in one sentence what else makes or keeps what is named
	// by its references. The Store gives it as the hint where a Backend lacks a
	// capability.
	Adviser interface {
		Backend
		Advice() string
	}

	// A Dependent tells what its references lead to outside of devices. A
	// Backend whose references name a file, a variable or a PIN source is
	// one: otherwise files are not watched, and variables with secrets are
	// passed on to other programs.
	Dependent interface {
		Backend
		// Uses reads the text of ref alone and opens nothing. Of a malformed
		// reference it tells what can be told. It does not follow PIN
		// sources: the Store does.
		Uses(ref Ref) Uses
	}

	// An AttributeSetter has attributes that are also given beside a
	// reference, such as by a flag for all references that do not have them.
	AttributeSetter interface {
		Backend
		// SetAttribute adds an attribute, whose value is not empty, and
		// leaves the rest of ref as it is written, also if that is
		// malformed. It returns ref as it is if that has the attribute, or
		// another that excludes it. It fails with errors.ErrUnsupported if
		// name is not that of an attribute that can be set.
		SetAttribute(ref Ref, name, value string) (Ref, error)
	}

	// A Rebaser has references that may be relative to a folder.
	Rebaser interface {
		Backend
		// Rebase returns ref with a relative path made one below dir, and
		// any other ref as it is.
		Rebase(ref Ref, dir string) Ref
	}

	// A Sealer keeps a secret where ref says, which must not exist, so that
	// its Unsealer alone gives it back. It borrows secret.
	Sealer interface {
		Backend
		Seal(ctx context.Context, ref Ref, secret []byte, call Call) error
	}

	// An Unsealer gives the secret that ref names, such as a PIN that a
	// device keeps for one machine. It belongs to the caller.
	Unsealer interface {
		Backend
		Unseal(ctx context.Context, ref Ref, call Call) ([]byte, error)
	}
)

// A Key is a Signer that says where it is kept.
type Key interface {
	signer.Signer
	// Ref names the key so that it is found again, also by another process.
	// It holds no PIN; it may say where one is.
	Ref() Ref
}

// A KeySpec says which key to make.
type KeySpec struct {
	Type KeyType
}

// A KeyType is an algorithm with its size.
type KeyType string

// The key types; no backend makes all of them.
const (
	RSA2048 KeyType = "rsa2048"
	RSA3072 KeyType = "rsa3072"
	RSA4096 KeyType = "rsa4096"
	P256    KeyType = "p256"
	P384    KeyType = "p384"
	P521    KeyType = "p521"
	Ed25519 KeyType = "ed25519"
)

// KeyTypes returns all of them.
func KeyTypes() []KeyType {
	return []KeyType{RSA2048, RSA3072, RSA4096, P256, P384, P521, Ed25519}
}

// An Entry is one thing in a store.
type Entry struct {
	Ref         Ref // opens it; fit to be pasted
	Kind        EntryKind
	Public      crypto.PublicKey  // of a key, if the store shows it
	Certificate *x509.Certificate // of a certificate
}

// An EntryKind is what an Entry is.
type EntryKind string

// The kinds of entries.
const (
	TokenEntry       EntryKind = "token"
	KeyEntry         EntryKind = "key"
	CertificateEntry EntryKind = "certificate"
)
