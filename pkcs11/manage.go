package pkcs11

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A keyPlan is how to make a key of a type.
type keyGenerator struct {
	mechanism uint
	keyType   uint
	params    []attribute // of the public template
}

var keyGenerators = map[keystore.KeyType]keyGenerator{
	keystore.RSA2048: rsaGenerator(2048),
	keystore.RSA3072: rsaGenerator(3072),
	keystore.RSA4096: rsaGenerator(4096),
	keystore.P256:    {ckmECKeyPairGen, ckkEC, []attribute{{ckaECParams, []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")}}},
	keystore.P384:    {ckmECKeyPairGen, ckkEC, []attribute{{ckaECParams, []byte("\x06\x05\x2b\x81\x04\x00\x22")}}},
	keystore.P521:    {ckmECKeyPairGen, ckkEC, []attribute{{ckaECParams, []byte("\x06\x05\x2b\x81\x04\x00\x23")}}},
	// id-Ed25519 as a PrintableString, which modules took before the object
	// identifier (PKCS #11 v3.0, section 2.3.5).
	keystore.Ed25519: {ckmEdwardsKeyPairGen, ckkECEdwards, []attribute{{ckaECParams, []byte("\x13\x0cedwards25519")}}},
}

func rsaGenerator(bits uint) keyGenerator {
	return keyGenerator{ckmRSAKeyPairGen, ckkRSA, []attribute{{ckaModulusBits, bits}, {ckaPublicExponent, []byte{1, 0, 1}}}}
}

// Generate implements [keystore.Generator]: a key pair on the token,
// non-extractable and sensitive, with the label and ID of the reference, or a
// random ID if it has none. The reference needs a label or an ID. If a key has
// these already, the error is [fs.ErrExist].
func (Backend) Generate(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, call keystore.Call) (keystore.Key, error) {
	plan, ok := keyGenerators[spec.Type]
	if !ok {
		return nil, fmt.Errorf("key type %q: %w", spec.Type, errors.ErrUnsupported)
	}
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	if cfg.URI.Object == "" && cfg.URI.ID == "" {
		return nil, &keystore.RefError{Ref: ref.String(), Err: errors.New("needs object= or id= to name the new key")}
	}
	key, err := generate(ctx, cfg, plan, &loaded)
	if err != nil {
		return nil, err
	}
	return key, nil
}

func generate(ctx context.Context, cfg Config, plan keyGenerator, table *modules) (key *Key, err error) {
	err = withSession(ctx, cfg, table, func(t token, session uint) error {
		existing, err := objects(t.mod, session, URI{Object: cfg.URI.Object, ID: cfg.URI.ID}, ckoPrivateKey)
		if err != nil {
			return err
		}
		if len(existing) > 0 {
			return &existsError{listObjects(t, existing, cfg.URI)}
		}
		if cfg.URI.ID == "" {
			id := make([]byte, 8)
			_, _ = rand.Read(id) // never fails
			cfg.URI.ID = string(id)
		}
		if err := plan.generate(t.mod, session, cfg.URI); err != nil {
			return err
		}
		// This session keeps the user logged in: no PIN is asked again.
		key, err = open(ctx, cfg, table)
		if errors.Is(err, ckrSessionCount) { // it is the only one that there is
			return nil
		}
		return err
	})
	switch {
	case err != nil && key != nil:
		return nil, errors.Join(err, key.Close())
	case err != nil:
		return nil, err
	case key == nil:
		return open(ctx, cfg, table)
	}
	return key, nil
}

// An existsError is a new key's name that is taken. It is [fs.ErrExist].
type existsError struct{ uris string }

func (e *existsError) Error() string { return "a key of that name exists already" }
func (e *existsError) Unwrap() error { return fs.ErrExist }
func (e *existsError) Hint() string {
	return "choose another object= or id=, or use the key: " + e.uris
}

func (p keyGenerator) generate(mod module, session uint, u URI) error {
	name := []attribute{{ckaToken, true}, {ckaLabel, u.Object}, {ckaID, []byte(u.ID)}}
	public := append([]attribute{
		{ckaClass, uint(ckoPublicKey)}, {ckaKeyType, p.keyType}, {ckaVerify, true},
	}, append(name, p.params...)...)
	private := append([]attribute{
		{ckaClass, uint(ckoPrivateKey)}, {ckaKeyType, p.keyType}, {ckaSign, true},
		{ckaPrivate, true}, {ckaSensitive, true}, {ckaExtractable, false},
	}, name...)
	_, _, err := mod.generateKeyPair(session, mechanism{kind: p.mechanism}, public, private)
	return err
}

// Install implements [keystore.Installer]: the leaf gets the key's ID and
// label, the others their subject's common name as label. What is on the token
// stays there, also older certificates of the key. If Open would go on taking
// one of these, by the rule of [signer.Chain], the new one is not written; the
// error is [fs.ErrExist].
func (Backend) Install(ctx context.Context, ref keystore.Ref, chain []*x509.Certificate, call keystore.Call) error {
	cfg, err := configFor(ref, call)
	if err != nil {
		return err
	}
	return installChain(ctx, cfg, chain, &loaded)
}

func installChain(ctx context.Context, cfg Config, chain []*x509.Certificate, table *modules) error {
	if len(chain) == 0 {
		return signer.ErrNoCertificate
	}
	cfg.Certificates = chain
	return withSession(ctx, cfg, table, func(t token, session uint) error {
		key, _, err := findKey(t, session, cfg.URI, chain)
		if err != nil {
			return err
		}
		if !signer.SamePublicKey(key.pub, chain[0].PublicKey) {
			return signer.ErrMismatch
		}
		present, _, err := certificates(t.mod, session, URI{})
		if err != nil {
			return err
		}
		taken, err := signer.Chain(key.pub, append(present[:len(present):len(present)], chain[0]))
		if err != nil {
			return err
		}
		if old := taken[0]; !old.Equal(chain[0]) {
			return &laterCertError{old, key.uri(t).withModuleOf(cfg.URI)}
		}
		for i, cert := range chain {
			label, id := cert.Subject.CommonName, cert.SubjectKeyId
			if i == 0 {
				label, id = key.label, key.id
			}
			if err := install(t.mod, session, cert, label, id, present); err != nil {
				return fmt.Errorf("certificate %s: %w", quote(cert.Subject.String()), err)
			}
		}
		return nil
	})
}

// A keptError is a certificate on the token that would be taken before the one
// that is to be installed. It is [fs.ErrExist].
type laterCertError struct {
	cert *x509.Certificate
	key  URI
}

func (e *laterCertError) Error() string {
	return fmt.Sprintf("the key has a certificate that is valid until %s and would be taken still", e.cert.NotAfter.UTC().Format(time.RFC3339))
}
func (e *laterCertError) Unwrap() error { return fs.ErrExist }
func (e *laterCertError) Hint() string {
	return "delete it with the token's own tools, serial number " + e.cert.SerialNumber.Text(16) + ", or keep the new one in a file: Identity.Certificate FILE, Identity.Key " + e.key.String()
}

func install(mod module, session uint, cert *x509.Certificate, label string, id []byte, present []*x509.Certificate) error {
	for _, c := range present {
		if c.Equal(cert) {
			return nil
		}
	}
	serial, err := asn1.Marshal(new(big.Int).Set(cert.SerialNumber))
	if err != nil {
		return err
	}
	_, err = mod.createObject(session, []attribute{
		{ckaClass, uint(ckoCertificate)}, {ckaCertificateType, uint(ckcX509)}, {ckaToken, true}, {ckaPrivate, false},
		{ckaLabel, label}, {ckaID, id}, {ckaSubject, cert.RawSubject}, {ckaIssuer, cert.RawIssuer},
		{ckaSerialNumber, serial}, {ckaValue, cert.Raw},
	})
	return err
}

// withSession runs f in a session for writing, logged in, on the token of cfg.
func withSession(ctx context.Context, cfg Config, table *modules, f func(t token, session uint) error) (err error) {
	mod, err := table.find(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mod.release()) }()
	t, err := oneToken(mod, cfg.URI)
	if err != nil {
		return err
	}
	session, err := mod.openSession(t.slot, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mod.closeSession(session)) }()
	d := newAuthenticator(cfg).begin()
	defer d.end()
	if err := d.login(ctx, t, session); err != nil {
		return err
	}
	return f(t, session)
}
