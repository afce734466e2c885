package blob

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

// An identity is the signer of a file that the user trusts.
type identity struct {
	pub        crypto.PublicKey
	name, hash string
	hint       string // of the error that the signature is another one's
}

func (i identity) String() string { return fmt.Sprintf("%s (%s)", i.name, i.hash) }

const (
	hintForged = "the file or its signature was changed, or somebody else signed it: get both again from their source"
	hintCA     = "the file or its signature was changed, or somebody else signed it; to trust the certificates that this CA issued, use --trust-anchor with --subject"
)

// ofCertificate returns the identity of a certificate.
func ofCertificate(c *x509.Certificate) identity {
	return identity{signer.PublicKeyOf(c), cmp.Or(nameOf(c), "somebody without a name"), fmt.Sprintf("certificate SHA-256 %x", sha256.Sum256(c.Raw)), hintForged}
}

// nameOf returns the subject of a certificate in the form of RFC 4514.
func nameOf(c *x509.Certificate) string { return selector.For(c).Subject.String() }

// pinned returns the identity in the file of --signer.
func pinned(ctx context.Context, a front.App, opts keystore.Options, file string) (identity, error) {
	ref, err := fileRef(a, "signer", file)
	if err != nil {
		return identity{}, err
	}
	data, err := keystore.Call{Options: opts}.Read(ctx, ref)
	if err != nil {
		return identity{}, fmt.Errorf("--signer %s: %w", file, err)
	}
	if block, _ := pem.Decode(data); block != nil && block.Type == "PUBLIC KEY" {
		pub, err := parsePublicKey(block.Bytes)
		if err != nil {
			return identity{}, signer.WithHint(fmt.Errorf("--signer %s: %w", file, err), "give a certificate, or a public key that begins with -----BEGIN PUBLIC KEY-----")
		}
		return identity{pub, "the key " + signer.DescribeKey(pub), "public key SHA-256 " + signer.Fingerprint(pub), hintForged}, nil
	}
	certs, err := a.Store.Certificates(ctx, ref, opts)
	if block, _ := pem.Decode(data); errors.Is(err, signer.ErrNoCertificate) && block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return identity{}, signer.WithHint(fmt.Errorf("--signer %s is a private key: %w", file, signer.ErrNoCertificate), "give the certificate or the public key of the signer; only the signer needs the private key")
	}
	if err != nil {
		return identity{}, fmt.Errorf("--signer: %w", err)
	}
	i := ofCertificate(certs[0])
	if certs[0].IsCA {
		i.hint = hintCA
	}
	return i, nil
}

// parsePublicKey parses a SubjectPublicKeyInfo.
func parsePublicKey(der []byte) (crypto.PublicKey, error) {
	if key := mldsa.ParsePKIX(der); key != nil {
		return key, nil
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("the public key is damaged or of an unknown type")
	}
	return pub, nil
}

// fileRef returns the reference to the file that a flag must name.
func fileRef(a front.App, flag, file string) (keystore.Ref, error) {
	if _, err := front.FilePath(a, flag, file); err != nil {
		return keystore.Ref{}, err
	}
	return keystore.ParseRef(file)
}

// trusted returns the identity of the certificate in file that leads to a CA in the
// file of --trust-anchor, is valid now, and has the subject.
func trusted(ctx context.Context, a front.App, opts keystore.Options, anchorFile, file, subject string) (identity, error) {
	want, err := selector.ParseDN(subject)
	if err != nil {
		return identity{}, front.Usagef("--subject %q: %w", keystore.Excerpt(subject), err)
	}
	ref, err := fileRef(a, "trust-anchor", anchorFile)
	if err != nil {
		return identity{}, err
	}
	anchors, err := a.Store.Certificates(ctx, ref, opts)
	if err != nil {
		return identity{}, fmt.Errorf("--trust-anchor: %w", err)
	}
	for _, c := range anchors {
		if !c.IsCA {
			return identity{}, signer.WithHint(fmt.Errorf("--trust-anchor %s: the certificate %q is not that of a CA", anchorFile, nameOf(c)), "to trust this certificate alone, use --signer FILE instead")
		}
	}
	if ref, err = fileRef(a, "certificate", file); err != nil {
		return identity{}, err
	}
	certs, err := a.Store.Certificates(ctx, ref, opts)
	if errors.Is(err, fs.ErrNotExist) {
		err = signer.WithHint(err, "name the file with the certificate of the signer with --certificate FILE")
	}
	if err != nil {
		return identity{}, err
	}
	leaf, err := trust{anchors, a.Now()}.check(certs, want)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", file, err)
	}
	return ofCertificate(leaf), nil
}

// A trust are the CAs that are trusted, at a time.
type trust struct {
	anchors []*x509.Certificate
	now     time.Time
}

// check returns the certificate of the signer among certs, or an error if it is not
// trusted or has another subject.
func (t trust) check(certs []*x509.Certificate, want selector.DN) (*x509.Certificate, error) {
	leaf := certs[max(slices.IndexFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA }), 0)]
	found, err := signer.SelectCertificates(signer.PublicKeyOf(leaf), certs, t.now)
	if err != nil {
		return nil, err
	}
	leaf = found.Chain[0]
	if leaf.IsCA {
		return nil, signer.WithHint(fmt.Errorf("the certificate %q is that of a CA, not of a signer", nameOf(leaf)), "give the certificate of the signer first, and then those of its issuers")
	}
	paths, err := t.paths(found)
	if err != nil {
		return nil, err
	}
	// Both texts are in the form in which equal names have equal texts.
	if name := nameOf(leaf); name != want.String() {
		return nil, signer.WithHint(fmt.Errorf("%w: the certificate is that of %q, not of %q", errSubject, name, want), "the names differ: compare them part by part, because the order of the parts and capital letters matter; if it is the name of another one, somebody else signed the file")
	}
	switch {
	case t.now.Before(leaf.NotBefore):
		err = signer.WithHint(fmt.Errorf("the certificate %q is not valid before %s", nameOf(leaf), day(leaf.NotBefore)), "check the clock of this machine")
	case t.now.After(leaf.NotAfter):
		err = signer.WithHint(fmt.Errorf("the certificate %q expired at %s, and a signature does not say when it was made", nameOf(leaf), day(leaf.NotAfter)),
			"the dates of a certificate that you pin with --signer FILE are not checked")
	case !slices.ContainsFunc(paths, hasLongKeys):
		c := paths[0][slices.IndexFunc(paths[0], hasShortKey)]
		err = signer.WithHint(fmt.Errorf("the key of the certificate %q is %s: %w", nameOf(c), signer.DescribeKey(c.PublicKey), errShort), "have the CA issue a certificate for a longer key; if it is that of a CA, use another CA")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		err = signer.WithHint(fmt.Errorf("the key usage of the certificate %q lacks digitalSignature", nameOf(leaf)), hintUsage)
	case !slices.ContainsFunc(paths, func(path []*x509.Certificate) bool {
		return hasLongKeys(path) && !slices.ContainsFunc(path, isForOthers)
	}):
		err = signer.WithHint(fmt.Errorf("the extended key usages of the certificate %q, or of one of its issuers, lack codeSigning", nameOf(leaf)), hintUsage)
	}
	if err != nil {
		return nil, err
	}
	return leaf, nil
}

const hintUsage = "have the CA issue a certificate for signing, with the key usage digitalSignature and the extended key usage codeSigning"

var errSubject = errors.New("another signer")

// paths returns the paths to the trusted CAs, leaf first; there is one if the error is
// nil. The dates of the leaf are not checked yet, so that only one that a CA issued is
// said to have expired.
func (t trust) paths(found signer.Certificates) ([][]*x509.Certificate, error) {
	leaf := *found.Chain[0]
	leaf.NotBefore, leaf.NotAfter = t.now, t.now
	paths, err := certpath.Verify(&leaf, t.anchors, found.Issued()[1:], t.now)
	if err == nil {
		return paths, nil
	}
	for _, c := range found.Chain {
		if certpath.Weak(c.SignatureAlgorithm) {
			return nil, signer.WithHint(fmt.Errorf("the certificate %q is signed with %v", nameOf(c), c.SignatureAlgorithm), "have the CA issue it again with SHA-256 or stronger")
		}
	}
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		top := found.Chain[len(found.Chain)-1]
		reason := "which is not a trusted CA"
		if slices.ContainsFunc(t.anchors, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, top.RawIssuer) }) {
			reason = "but not by the trusted CA with this name: the key of that CA did not make the signature"
		}
		return nil, signer.WithHint(fmt.Errorf("%w: the certificate %q was issued by %q, %s", errUntrusted, nameOf(top), top.Issuer, reason),
			"check --trust-anchor, and give the certificates of all other issuers after that of the signer")
	}
	return nil, signer.WithHint(fmt.Errorf("%w: %w", errUntrusted, err), "have the CA issue certificates that obey the constraints of their issuers")
}

var errUntrusted = errors.New("no path leads to a trusted CA")

func hasShortKey(c *x509.Certificate) bool      { return isShort(c.PublicKey) }
func hasLongKeys(path []*x509.Certificate) bool { return !slices.ContainsFunc(path, hasShortKey) }

// isForOthers reports whether the extended key usages of a certificate, if it has any,
// do not include code signing (RFC 5280, section 4.2.1.12).
func isForOthers(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 &&
		!slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }
