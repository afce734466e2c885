package tpm

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// An operation makes one signature with a loaded key.
type operation func(*loadedObject) ([]byte, error)

// hashes maps the hash functions that both TPMs and signers support.
var hashes = lookup.Table[crypto.Hash, tpm2.TPMAlgID]{
	{crypto.SHA256, tpm2.TPMAlgSHA256},
	{crypto.SHA384, tpm2.TPMAlgSHA384},
	{crypto.SHA512, tpm2.TPMAlgSHA512},
}

var algorithms = lookup.Table[signer.Padding, tpm2.TPMAlgID]{
	{signer.NoPadding, tpm2.TPMAlgECDSA},
	{signer.PKCS1v15, tpm2.TPMAlgRSASSA},
	{signer.PSS, tpm2.TPMAlgRSAPSS},
}

// operation returns an operation that uses TPM2_Sign. For decrypt-only RSA
// keys, and for salts that are not as long as the digest, it uses the RSA
// operation of TPM2_RSA_Decrypt.
func (o object) operation(m signer.Mechanism, digest []byte) (operation, error) {
	alg, hash := algorithms.Get(m.Padding), hashes.Get(m.Hash)
	allowed := o.scheme.alg == tpm2.TPMAlgNull || o.scheme.alg == alg && o.scheme.hash == hash
	ownSalt := m.Padding == signer.PSS && m.SaltLen != m.Hash.Size()
	switch {
	case !allowed:
		return nil, fmt.Errorf("the key supports only %s: %w", o.scheme, errors.ErrUnsupported)
	case o.area.ObjectAttributes.SignEncrypt && hash != 0 && !ownSalt:
		return func(l *loadedObject) ([]byte, error) { return o.sign(l, alg, hash, m, digest) }, nil
	case o.rawRSA():
		return o.rawOperation(m, digest)
	case ownSalt:
		return nil, fmt.Errorf("PSS salt of %d bytes: TPMs support only salts as long as the digest: %w", m.SaltLen, errors.ErrUnsupported)
	}
	return nil, fmt.Errorf("%v: not supported by TPMs: %w", m.Hash, errors.ErrUnsupported)
}

// supported reports whether this package can sign with the scheme.
func (s scheme) supported() bool {
	for _, t := range tlsSchemes {
		if t.scheme == s {
			return true
		}
	}
	return s.alg == tpm2.TPMAlgNull
}

func (s scheme) String() string {
	for _, alg := range algorithms {
		for _, hash := range hashes {
			if s.alg == alg.Value && s.hash == hash.Value {
				if alg.Key == signer.NoPadding {
					return "ECDSA with " + hash.Key.String()
				}
				return fmt.Sprintf("%v with %v", alg.Key, hash.Key)
			}
		}
	}
	return fmt.Sprintf("scheme 0x%04x with hash 0x%04x", uint16(s.alg), uint16(s.hash))
}

// sign signs with TPM2_Sign. The validation ticket is the NULL ticket, for
// digests that the TPM did not compute (TPM 2.0 Library, part 3, section 20.2).
func (o object) sign(l *loadedObject, alg, hash tpm2.TPMAlgID, m signer.Mechanism, digest []byte) ([]byte, error) {
	key, err := l.authHandle()
	if err != nil {
		return nil, err
	}
	answer, err := tpm2.Sign{
		KeyHandle:  key,
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: alg, Details: tpm2.NewTPMUSigScheme(alg, &tpm2.TPMSSchemeHash{HashAlg: hash})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(l)
	if err != nil {
		return nil, explain("TPM2_Sign", err)
	}
	switch alg {
	case tpm2.TPMAlgECDSA:
		sig, err := answer.Signature.Signature.ECDSA()
		if err != nil {
			return nil, explain("TPM2_Sign", err)
		}
		if der := signer.ECDSASignature(sig.SignatureR.Buffer, sig.SignatureS.Buffer); der != nil {
			return der, nil
		}
		return nil, fmt.Errorf("TPM2_Sign: %w: the signature is too long", errNotTPM)
	case tpm2.TPMAlgRSASSA:
		sig, err := answer.Signature.Signature.RSASSA()
		if err != nil {
			return nil, explain("TPM2_Sign", err)
		}
		return sig.Sig.Buffer, nil
	}
	sig, err := answer.Signature.Signature.RSAPSS()
	if err != nil {
		return nil, explain("TPM2_Sign", err)
	}
	// The salt is as long as the digest since revision 1.38 of the TPM
	// library specification. Before, it was as long as possible (part 1,
	// appendix B.7).
	if !signer.Verifies(o.pub, m, digest, sig.Sig.Buffer) {
		return nil, fmt.Errorf("this TPM does not make PSS signatures with a salt of %d bytes: %w", m.SaltLen, errors.ErrUnsupported)
	}
	return sig.Sig.Buffer, nil
}

// rawOperation pads the digest in software and calls TPM2_RSA_Decrypt without
// padding (part 3, section 14.3).
func (o object) rawOperation(m signer.Mechanism, digest []byte) (operation, error) {
	pub := o.pub.(*rsa.PublicKey)
	em, err := pad(pub, m, digest)
	if err != nil {
		return nil, err
	}
	return func(l *loadedObject) ([]byte, error) {
		key, err := l.authHandle()
		if err != nil {
			return nil, err
		}
		answer, err := tpm2.RSADecrypt{
			KeyHandle:  key,
			CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: em},
			InScheme:   tpm2.TPMTRSADecrypt{Scheme: tpm2.TPMAlgNull},
		}.Execute(l)
		if err != nil {
			return nil, explain("TPM2_RSA_Decrypt", err)
		}
		sig := make([]byte, pub.Size())
		if len(answer.Message.Buffer) > len(sig) {
			return nil, errors.New("TPM2_RSA_Decrypt: the result is longer than the modulus")
		}
		copy(sig[len(sig)-len(answer.Message.Buffer):], answer.Message.Buffer)
		return sig, nil
	}, nil
}

// SignatureSchemes implements [signer.SchemeLimiter]. The result depends on the
// key and on the algorithms of the TPM, which the first call reads.
func (k *Key) SignatureSchemes() []tls.SignatureScheme { return k.schemes() }

// PSSSaltLengths implements [signer.SaltLimiter]: TPM2_Sign has no parameter for the
// salt. A key that also decrypts is not limited, see operation.
func (k *Key) PSSSaltLengths(hash crypto.Hash) []int {
	if k.object.rawRSA() {
		return nil
	}
	return []int{hash.Size()}
}

// tlsSchemes lists the signature schemes of crypto/tls that TPMs support.
var tlsSchemes = []struct {
	scheme
	tls   tls.SignatureScheme
	curve tpm2.TPMECCCurve // 0: RSA
}{
	{scheme{tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256}, tls.PSSWithSHA256, 0},
	{scheme{tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA384}, tls.PSSWithSHA384, 0},
	{scheme{tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA512}, tls.PSSWithSHA512, 0},
	{scheme{tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256}, tls.PKCS1WithSHA256, 0},
	{scheme{tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA384}, tls.PKCS1WithSHA384, 0},
	{scheme{tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA512}, tls.PKCS1WithSHA512, 0},
	{scheme{tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256}, tls.ECDSAWithP256AndSHA256, tpm2.TPMECCNistP256},
	{scheme{tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA384}, tls.ECDSAWithP384AndSHA384, tpm2.TPMECCNistP384},
	{scheme{tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA512}, tls.ECDSAWithP521AndSHA512, tpm2.TPMECCNistP521},
}

func (k *Key) findSchemes() []tls.SignatureScheme {
	var curve tpm2.TPMECCCurve
	if p, err := k.area.Parameters.ECCDetail(); k.area.Type == tpm2.TPMAlgECC && err == nil {
		curve = p.CurveID
	}
	has := k.algorithms()
	var all []tls.SignatureScheme
	for _, s := range tlsSchemes {
		switch {
		case s.curve != curve:
		case k.object.scheme.alg != tpm2.TPMAlgNull && k.object.scheme != s.scheme:
		case has != nil && !k.object.rawRSA() && (!slices.Contains(has, s.alg) || !slices.Contains(has, s.hash)):
		default:
			all = append(all, s.tls)
		}
	}
	return all
}

// algorithms returns the algorithms that the TPM implements, or nil if the TPM
// does not answer.
func (k *Key) algorithms() (ids []tpm2.TPMAlgID) {
	if k.mu.LockContext(k.ctx) != nil {
		return nil
	}
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.bind(k.ctx)
	_ = k.use(k.ctx, func(l *loadedObject) error {
		answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapAlgs, PropertyCount: 256}.Execute(l)
		if err != nil {
			return explain("TPM2_GetCapability", err)
		}
		list, err := answer.CapabilityData.Data.Algorithms()
		if err != nil {
			return err
		}
		for _, a := range list.AlgProperties {
			ids = append(ids, a.Alg)
		}
		return nil
	})
	return ids
}
