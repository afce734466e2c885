package issuing

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
)

// attestationFlags are the flags of ca issue for keys in a TPM.
type attestationFlags struct {
	files    []string // one at most
	roots    []string
	allow    []string
	policies []string
}

func (f *attestationFlags) add(fs *pflag.FlagSet) {
	front.ListVar(fs, &f.files, "attestation", "`file` that holdfast attest wrote, - for standard input: issue a certificate that only this TPM with this key can unwrap")
	front.ListVar(fs, &f.roots, "ek-roots", "`file` with certificates of CAs that makers of TPMs have, in PEM: accept a TPM with a certificate of one of them; can be repeated")
	front.ListVar(fs, &f.allow, "ek-allow", "SHA-256 `hash` of the endorsement key of a TPM to accept, or a file with one on each line; can be repeated")
	front.ListVar(fs, &f.policies, "require-policy", "`policy` that the key must have, such as pcr=sha256:7=VALUE; can be repeated: one of them suffices")
	front.RefuseEmpty(fs, "attestation", "ek-roots", "ek-allow", "require-policy")
}

// file returns the file with the evidence; "": there is none.
func (f *attestationFlags) file() string {
	if len(f.files) == 0 {
		return ""
	}
	return f.files[0]
}

// check refuses flags that have no meaning together. csr is the value of --csr.
func (f *attestationFlags) check(csr string) error {
	given := len(f.allow) > 0 || len(f.roots) > 0
	fromStdin := 0
	for _, name := range append([]string{csr, f.file()}, f.roots...) {
		if name == stdin {
			fromStdin++
		}
	}
	switch {
	case len(f.files) > 1:
		return signer.WithHint(front.Usagef("--attestation is given twice"), "issue one certificate after the other")
	case f.file() == "" && (given || len(f.policies) > 0):
		return signer.WithHint(front.Usagef("--ek-roots, --ek-allow and --require-policy are only for --attestation"), "give the file that holdfast attest wrote with --attestation")
	case f.file() != "" && !given:
		return signer.WithHint(front.Usagef("--attestation is given without --ek-roots or --ek-allow"), "say which TPMs you trust; docs/attestation.md describes how")
	case len(f.roots) > 0 && len(f.allow) > 0:
		return signer.WithHint(front.Usagef("--ek-roots cannot be used with --ek-allow"), "use only one of them: a TPM in the list needs no certificate")
	case fromStdin > 1:
		return signer.WithHint(front.Usagef("only one of --csr, --attestation and --ek-roots can be standard input"), "write the others to files")
	}
	return nil
}

// read returns the evidence, which was verified. It returns nil if none was given.
func (f *attestationFlags) read(ctx context.Context, a front.App) (*attestation.Evidence, error) {
	if f.file() == "" {
		return nil, nil
	}
	t := attestation.Trust{Now: a.Now()}
	for _, text := range f.policies {
		p, err := attestation.ParsePolicy(text)
		if err != nil {
			return nil, &front.UsageError{Err: fmt.Errorf("--require-policy %s: %w", keystore.Excerpt(text), err)}
		}
		t.Policies = append(t.Policies, p)
	}
	for _, text := range f.allow {
		hashes, err := readHashes(text)
		if err != nil {
			return nil, err
		}
		t.Endorsements = append(t.Endorsements, hashes...)
	}
	for _, name := range f.roots {
		roots, err := readRoots(ctx, a, name)
		if err != nil {
			return nil, err
		}
		t.Roots = append(t.Roots, roots...)
	}
	ref, data, err := readInput(ctx, a, f.file())
	if err != nil {
		return nil, err
	}
	e, err := attestation.Parse(data)
	if err == nil {
		err = e.Verify(t)
	}
	if err != nil && signer.Hint(err) == "" {
		err = signer.WithHint(err, "give the file that holdfast attest wrote; copy it again if it is damaged")
	}
	if err != nil {
		return nil, inInput(ref, err)
	}
	return e, nil
}

// maxHashes bounds a file of hashes, in bytes: more than 100 000 of them.
const maxHashes = 8 << 20

// readHashes returns one hash, or those in a file. Text after # is a comment.
func readHashes(text string) (all []string, err error) {
	if hash, ok := parseHash(text); ok {
		return []string{hash}, nil
	}
	hint := "give the hash that holdfast attest prints, or a file with one on each line"
	data, err := keystore.ReadFile(text, maxHashes)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("--ek-allow %.80q is not a SHA-256 hash of 64 hexadecimal digits, and not a file: %w", text, front.WithoutPath(err)), hint)
	}
	number := 0
	for line := range strings.Lines(string(armor.Text(data))) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		hash, ok := parseHash(strings.Fields(line)[0]) // sha256sum writes the name of a file after it
		if !ok {
			return nil, signer.WithHint(fmt.Errorf("%s: line %d, %.80q, does not begin with a SHA-256 hash in hexadecimal", text, number, line), hint)
		}
		all = append(all, hash)
	}
	if len(all) == 0 {
		return nil, signer.WithHint(fmt.Errorf("%s: contains no hash", text), hint)
	}
	return all, nil
}

// parseHash returns a SHA-256 hash in lower-case hexadecimal; sha256: and colons are
// accepted.
func parseHash(text string) (string, bool) {
	digits := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(text, "sha256:"), ":", ""))
	sum, err := hex.DecodeString(digits)
	return digits, err == nil && len(sum) == 32
}

// readRoots returns the certificates of CAs.
func readRoots(ctx context.Context, a front.App, name string) ([]*x509.Certificate, error) {
	if _, isHash := parseHash(name); isHash {
		return nil, signer.WithHint(front.Usagef("--ek-roots %s is a hash, not a file with certificates", name), "give the hash with --ek-allow")
	}
	ref, err := keystore.ParseRef(name)
	if err != nil {
		return nil, err
	}
	certs, err := a.Store.Certificates(ctx, ref, a.Options(a.Logger(false)))
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if !c.IsCA {
			return nil, signer.WithHint(fmt.Errorf("%s: the certificate of %s is not one of a CA", ref, named(c.Subject.String())), "give the certificates of the CAs of the maker, not that of the TPM")
		}
	}
	return certs, nil
}

// requestOf returns a request for the key in the evidence, or the given one, which
// must be for this key.
func requestOf(e *attestation.Evidence, request *x509.CertificateRequest) (*x509.CertificateRequest, error) {
	switch {
	case e == nil:
		return request, nil
	case request == nil:
		spki, err := x509.MarshalPKIXPublicKey(e.Key())
		return &x509.CertificateRequest{PublicKey: e.Key(), RawSubjectPublicKeyInfo: spki}, err
	case !signer.SamePublicKey(request.PublicKey, e.Key()):
		return nil, signer.WithHint(errors.New("the request is for another key than the evidence"), "give the request that was made with the attested key, or leave out --csr")
	}
	return request, nil
}
