package signertest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/signer"
)

// A mode says with which method a key signs.
type mode int

const (
	digests  mode = iota // Sign
	messages             // SignMessage only
)

// sign signs message with s. It also returns the digest that the signature is for.
func (m mode) sign(s signer.Signer, message string, opts crypto.SignerOpts) (digest, signature []byte, err error) {
	digest = digestOf(message, opts)
	if m == digests {
		signature, err = s.Sign(rand.Reader, digest, opts)
		return digest, signature, err
	}
	signature, err = crypto.SignMessage(s, rand.Reader, []byte(message), opts)
	return digest, signature, err
}

// signAndVerify signs message with s and verifies the signature.
func (r request) signAndVerify(s signer.Signer, message string) error {
	digest, signature, err := r.mode.sign(s, message, r.opts)
	if err == nil {
		err = r.verify(digest, signature)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

// signMessageAndVerify is signAndVerify with SignMessage, if s has it.
func (r request) signMessageAndVerify(s signer.Signer, message string) error {
	m, ok := s.(crypto.MessageSigner)
	if !ok {
		return nil
	}
	signature, err := m.SignMessage(rand.Reader, []byte(message), r.opts)
	if err == nil {
		err = r.verify(digestOf(message, r.opts), signature)
	}
	if err != nil {
		return fmt.Errorf("SignMessage: %s: %w", r.name, err)
	}
	return nil
}

func checkSign(_ testing.TB, s signer.Signer, m mode) error {
	requests, err := requestsFor(s, m)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range requests {
		errs = append(errs, r.signAndVerify(s, "one message"), r.signAndVerify(s, "another message"), r.signMessageAndVerify(s, "a whole message"))
	}
	if _, ok := s.(crypto.MessageSigner); !ok && m == messages {
		errs = append(errs, errors.New("the key has no SignMessage"))
	}
	return errors.Join(errs...)
}

func checkRefuse(_ testing.TB, s signer.Signer, m mode) error {
	requests, err := requestsFor(s, m)
	if err != nil {
		return err
	}
	var errs []error
	refuse := func(what string, digest []byte, opts crypto.SignerOpts) {
		if signature, err := s.Sign(rand.Reader, digest, opts); err == nil {
			errs = append(errs, fmt.Errorf("%s: signed (%d bytes), want an error", what, len(signature)))
		}
	}
	for _, r := range requests {
		if hash := r.opts.HashFunc(); hash != 0 {
			for _, n := range []int{0, hash.Size() - 1, hash.Size() + 1, 3 * hash.Size()} {
				refuse(fmt.Sprintf("%s: digest of %d bytes", r.name, n), make([]byte, n), r.opts)
			}
		}
	}
	first := requests[0]
	digest := digestOf("message", first.opts)
	refuse("nil options", digest, nil)
	refuseMessage := func(what string, opts crypto.SignerOpts) {
		if ms, ok := s.(crypto.MessageSigner); !ok {
			return
		} else if _, err := ms.SignMessage(rand.Reader, []byte("message"), opts); err == nil {
			errs = append(errs, fmt.Errorf("SignMessage: %s: signed, want an error", what))
		}
	}
	refuseMessage("nil options", nil)
	switch _, isEd25519 := s.Public().(ed25519.PublicKey); {
	case isEd25519:
		refuse("Ed25519 with a hash", make([]byte, 64), crypto.SHA512)
		refuseMessage("Ed25519 with a hash", crypto.SHA512)
	case isMLDSA(s.Public()):
		refuse("ML-DSA with a hash", make([]byte, 64), crypto.SHA512)
		refuse("ML-DSA with a context", []byte("message"), &mldsaOptions{Context: "context"})
	default:
		refuse("hash 0", digest, crypto.Hash(0))
		refuseMessage("hash 0", crypto.Hash(0))
		if m == messages {
			errs = append(errs, refuseDigests(s, requests)...)
		}
	}
	errs = append(errs, checkNoPSS(s, m), checkSalts(s, m))
	if err := first.signAndVerify(s, "message"); err != nil {
		errs = append(errs, fmt.Errorf("after the refusals: %w", err))
	}
	return errors.Join(errs...)
}

// refuseDigests checks that a key that signs only messages refuses every digest.
func refuseDigests(s signer.Signer, requests []request) (errs []error) {
	for _, r := range requests {
		if _, err := s.Sign(rand.Reader, digestOf("message", r.opts), r.opts); !errors.Is(err, errors.ErrUnsupported) {
			errs = append(errs, fmt.Errorf("%s: Sign of a digest: error %v, want errors.ErrUnsupported", r.name, err))
		}
	}
	return errs
}

func checkNoPSS(s signer.Signer, m mode) error {
	l, ok := s.(signer.SchemeLimiter)
	if _, isRSA := s.Public().(*rsa.PublicKey); !ok || !isRSA {
		return nil
	}
	pss := []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
	if slices.ContainsFunc(l.SignatureSchemes(), func(s tls.SignatureScheme) bool { return slices.Contains(pss, s) }) {
		return nil
	}
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	if _, _, err := m.sign(s, "message", opts); !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("PSS, which SignatureSchemes does not list: error %v, want errors.ErrUnsupported", err)
	}
	return nil
}

// checkSalts checks the limits of a SaltLimiter: the lengths that it lists, and one
// that it does not list.
func checkSalts(s signer.Signer, m mode) error {
	pub, isRSA := s.Public().(*rsa.PublicKey)
	if !isRSA {
		return nil
	}
	var errs []error
	for _, scheme := range schemes {
		l, limited := s.(signer.SchemeLimiter)
		if scheme.padding != signer.PSS || limited && !slices.Contains(l.SignatureSchemes(), scheme.tls) {
			continue
		}
		lengths := signer.PSSSaltLengths(s, scheme.hash)
		if lengths == nil {
			continue
		}
		largest := largestSalt(pub, scheme.hash)
		for _, n := range append([]int{20}, lengths...) {
			if n > largest {
				continue
			}
			opts := &rsa.PSSOptions{SaltLength: n, Hash: scheme.hash}
			digest, signature, err := m.sign(s, "message", opts)
			switch listed := slices.Contains(lengths, n); {
			case listed && err == nil:
				err = rsa.VerifyPSS(pub, scheme.hash, digest, signature, opts)
			case !listed && errors.Is(err, errors.ErrUnsupported):
				err = nil
			case !listed:
				err = fmt.Errorf("error %v, want errors.ErrUnsupported, because PSSSaltLengths returns %d", err, lengths)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%v with a salt of %d bytes: %w", scheme.tls, n, err))
			}
		}
	}
	return errors.Join(errs...)
}

func checkConcurrent(_ testing.TB, s signer.Signer, m mode) error {
	requests, err := requestsFor(s, m)
	if err != nil {
		return err
	}
	const goroutines, signatures = 8, 20
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range signatures {
				r := requests[(g+i)%len(requests)]
				if err := r.signAndVerify(s, fmt.Sprintf("message %d of goroutine %d", i, g)); err != nil {
					errs[g] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func checkClose(_ testing.TB, s signer.Signer, m mode) error {
	requests, err := requestsFor(s, m)
	if err != nil {
		return err
	}
	pub, chain := s.Public(), slices.Clone(s.Chain())
	errs := []error{requests[0].signAndVerify(s, "before Close")}
	closeAndSign := func() {
		if err := s.Close(); err != nil {
			errs = append(errs, fmt.Errorf("Close: %w", err))
		}
		if err := requests[0].signAndVerify(s, "after Close"); !errors.Is(err, signer.ErrClosed) {
			errs = append(errs, fmt.Errorf("Sign after Close: error %v, want signer.ErrClosed", err))
		}
		_, isMessageSigner := s.(crypto.MessageSigner)
		if err := requests[0].signMessageAndVerify(s, "after Close"); isMessageSigner && !errors.Is(err, signer.ErrClosed) {
			errs = append(errs, fmt.Errorf("SignMessage after Close: error %v, want signer.ErrClosed", err))
		}
	}
	closeAndSign()
	closeAndSign()
	if !signer.SamePublicKey(s.Public(), pub) {
		errs = append(errs, errors.New("Close changed the result of Public"))
	}
	if !slices.EqualFunc(s.Chain(), chain, (*x509.Certificate).Equal) {
		errs = append(errs, errors.New("Close changed the result of Chain"))
	}
	return errors.Join(errs...)
}

func checkCloseWhileSigning(_ testing.TB, s signer.Signer, m mode) error {
	requests, err := requestsFor(s, m)
	if err != nil {
		return err
	}
	const goroutines = 4
	var (
		errs    = make([]error, goroutines)
		closed  atomic.Bool
		done    sync.WaitGroup
		signing sync.WaitGroup // until each goroutine has called Sign once
	)
	signing.Add(goroutines)
	for g := range goroutines {
		done.Go(func() {
			first := sync.OnceFunc(signing.Done)
			defer first()
			for i := 0; ; i++ {
				late := closed.Load()
				err := requests[i%len(requests)].signAndVerify(s, fmt.Sprintf("message %d of goroutine %d", i, g))
				first()
				switch {
				case errors.Is(err, signer.ErrClosed):
					return
				case err != nil:
					errs[g] = err
					return
				case late:
					errs[g] = errors.New("Sign after Close made a signature, want signer.ErrClosed")
					return
				}
			}
		})
	}
	signing.Wait()
	err = s.Close()
	closed.Store(true)
	done.Wait()
	return errors.Join(append(errs, err)...)
}

func checkChain(_ testing.TB, s signer.Signer, _ mode) error {
	chain := s.Chain()
	if len(chain) == 0 {
		return nil
	}
	var errs []error
	if !signer.SamePublicKey(signer.PublicKeyOf(chain[0]), s.Public()) {
		errs = append(errs, fmt.Errorf("certificate %q: %w", chain[0].Subject, signer.ErrMismatch))
	}
	for i, c := range chain[1:] {
		if err := checkIssued(chain[i], c); err != nil {
			errs = append(errs, fmt.Errorf("certificate %q is not followed by its issuer: %w", chain[i].Subject, err))
		}
		if checkIssued(c, c) == nil {
			errs = append(errs, fmt.Errorf("certificate %q is a root", c.Subject))
		}
	}
	return errors.Join(errs...)
}

// checkIssued is CheckSignatureFrom, also with ML-DSA.
func checkIssued(c, issuer *x509.Certificate) error {
	if c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return c.CheckSignatureFrom(issuer)
	}
	if !issuer.BasicConstraintsValid || !issuer.IsCA {
		return errors.New("the next certificate is not one of a CA")
	}
	return certpath.CheckSignature(c, issuer)
}

func checkCSR(_ testing.TB, s signer.Signer, m mode) error {
	requests, err := requestsFor(s, m)
	if err != nil {
		return err
	}
	return ifAsked(s, func(s signer.Signer) error {
		template := &x509.CertificateRequest{
			DNSNames:           []string{"client.example"},
			SignatureAlgorithm: requests[0].x509,
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, template, s)
		if err != nil {
			return err
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return err
		}
		if !signer.SamePublicKey(csr.PublicKey, s.Public()) {
			return errors.New("certificate request is for another key")
		}
		return csr.CheckSignature()
	})
}

// ifAsked returns the error of use. With an ML-DSA key, use may fail before it asks
// for a signature: the standard library refuses such keys before Go 1.27.
func ifAsked(s signer.Signer, use func(signer.Signer) error) error {
	if !isMLDSA(s.Public()) {
		return use(s)
	}
	key := &askedKey{Signer: s}
	err := use(signer.WithCertificates(signer.FromKey(key), signer.CertificatesOf(s)))
	if !key.asked.Load() && err != nil {
		return nil
	}
	return err
}

// An askedKey records whether it was asked for a signature.
type askedKey struct {
	crypto.Signer
	asked atomic.Bool
}

func (k *askedKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.asked.Store(true)
	return k.Signer.Sign(rand, digest, opts)
}

func (k *askedKey) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.asked.Store(true)
	return crypto.SignMessage(k.Signer, rand, message, opts)
}
