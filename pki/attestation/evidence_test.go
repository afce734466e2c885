package attestation_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A file of evidence contains all parts, and is parsed to what it was made of.
func TestRoundTrip(t *testing.T) {
	root := signertest.NewCA(t, "maker")
	issuer := root.Intermediate(t, "series")
	value, _ := pcr(32, 1)
	digest := sum(crypto.SHA256, value)
	policy := policyOf(crypto.SHA256, pcrStep(selectionOf(tpm2.TPMAlgSHA256, 0, 7), digest), authStep)
	for _, kind := range []string{"rsa2048", "p256", "p384"} {
		for _, app := range []string{"rsa2048", "p256", "p384", "p521"} {
			key, ek := signertest.Key(t, app), signertest.Key(t, kind)
			p := attestation.Parts{
				EndorsementKey: spkiOf(t, ek.Public()), EndorsementCertificate: certify(t, issuer, ek, nil), EndorsementIssuers: [][]byte{issuer.Cert.Raw},
				PublicArea: newArea(t, key.Public(), func(a *tpm2.TPMTPublic) { a.AuthPolicy.Buffer = policy }),
				Policy:     []attestation.Step{{PCRs: "sha256:0,7", Digest: digest}, {AuthValue: true}},
			}
			made := newEvidence(t, p)
			parsed, err := attestation.Parse(made.Marshal())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(made, parsed) || !bytes.Equal(made.Marshal(), parsed.Marshal()) {
				t.Errorf("%s and %s: the parsed evidence differs", kind, app)
			}
			file, hash := sha256.Sum256(made.Marshal()), sha256.Sum256(p.EndorsementKey)
			if !signer.SamePublicKey(parsed.Key(), key.Public()) || !reflect.DeepEqual(parsed.Policy(), p.Policy) || !bytes.Equal(parsed.Certificate().Raw, p.EndorsementCertificate) ||
				parsed.Digest() != hex.EncodeToString(file[:]) || parsed.EndorsementHash() != hex.EncodeToString(hash[:]) {
				t.Errorf("%s and %s: key %v, policy %v", kind, app, parsed.Key(), parsed.Policy())
			}
			if text := parsed.PolicyText(); text != "PCRs sha256:0,7 and the password of the key" {
				t.Error(text)
			}
			if spki, ok := attestation.EvidenceKey(made.Marshal()); !ok || !bytes.Equal(spki, spkiOf(t, key.Public())) {
				t.Errorf("the key is %x, %v", spki, ok)
			}
		}
	}
	plain := newEvidence(t, newParts(t, "p256"))
	if plain.Certificate() != nil || plain.Policy() != nil || plain.PolicyText() != "none" {
		t.Errorf("certificate %v, policy %v, %s", plain.Certificate(), plain.Policy(), plain.PolicyText())
	}
	p := newParts(t, "p256")
	p.PublicArea = newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.AuthPolicy.Buffer = policy })
	if text := newEvidence(t, p).PolicyText(); text != "an unknown policy with the digest "+hex.EncodeToString(policy) {
		t.Error(text)
	}
}

// TestNewRefuses has parts that do not belong together or are damaged.
func TestNewRefuses(t *testing.T) {
	ca := signertest.NewCA(t, "maker")
	ek := signertest.Key(t, "rsa2048")
	certificate := certify(t, ca, ek, nil)
	value, _ := pcr(32, 1)
	step := attestation.Step{PCRs: "sha256:7", Digest: value}
	pcrs := policyOf(crypto.SHA256, pcrStep(selectionOf(tpm2.TPMAlgSHA256, 7), value))
	bound := newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.AuthPolicy.Buffer = pcrs })
	policy := func(steps ...attestation.Step) func(*attestation.Parts) {
		return func(p *attestation.Parts) { p.PublicArea, p.Policy = bound, steps }
	}
	issuers := func(n int) func(*attestation.Parts) {
		return func(p *attestation.Parts) {
			for range n {
				p.EndorsementIssuers = append(p.EndorsementIssuers, ca.Cert.Raw)
			}
		}
	}
	for _, test := range []struct {
		name   string
		change func(*attestation.Parts)
		text   string // in the error; "": there is none
	}{
		{"a certificate", func(p *attestation.Parts) { p.EndorsementCertificate = certificate }, ""},
		{"the policy of the key", policy(step), ""},
		{"no words about the policy of the key", policy(), ""},
		{"eight issuers", issuers(8), ""},

		{"nothing", func(p *attestation.Parts) { *p = attestation.Parts{} }, "SubjectPublicKeyInfo"},
		{"a certificate for another key", func(p *attestation.Parts) {
			p.EndorsementCertificate = certify(t, ca, signertest.Key(t, "p384"), nil)
		}, "for another key"},
		{"a certificate for another key of the type", func(p *attestation.Parts) {
			p.EndorsementCertificate = certify(t, ca, signertest.NewKey(t, "rsa2048"), nil)
		}, "for another key"},
		{"text as the certificate", func(p *attestation.Parts) { p.EndorsementCertificate = []byte("none") }, "not an X.509 certificate"},
		{"PEM as the certificate", func(p *attestation.Parts) { p.EndorsementCertificate = signertest.CertPEM(ca.Cert) }, "not an X.509 certificate"},
		{"a cut certificate", func(p *attestation.Parts) { p.EndorsementCertificate = certificate[:len(certificate)-1] }, "not an X.509 certificate"},
		{"a certificate with padding", func(p *attestation.Parts) {
			p.EndorsementCertificate = append(bytes.Clone(certificate), 0)
		}, "not an X.509 certificate"},
		{"text as an issuer", func(p *attestation.Parts) { p.EndorsementIssuers = [][]byte{ca.Cert.Raw, []byte("none")} }, "not an X.509 certificate"},
		{"an empty issuer", func(p *attestation.Parts) { p.EndorsementIssuers = [][]byte{nil} }, "not an X.509 certificate"},
		{"nine issuers", issuers(9), "more than 8"},
		{"too large", issuers(400), "64 KiB"},

		{"a policy of a key without one", func(p *attestation.Parts) { p.Policy = []attestation.Step{step} }, "not that of the key"},
		{"another value", policy(attestation.Step{PCRs: "sha256:7", Digest: bytes.Repeat([]byte{9}, 32)}), "not that of the key"},
		{"no value", policy(attestation.Step{PCRs: "sha256:7"}), "not that of the key"},
		{"another PCR", policy(attestation.Step{PCRs: "sha256:6", Digest: value}), "not that of the key"},
		{"another bank", policy(attestation.Step{PCRs: "sha384:7", Digest: value}), "not that of the key"},
		{"one step too many", policy(step, attestation.Step{AuthValue: true}), "not that of the key"},
		{"a step twice", policy(step, step), "not that of the key"},
		{"a step for both", policy(attestation.Step{PCRs: "sha256:7", Digest: value, AuthValue: true}), "both"},
		{"a password with a digest", policy(attestation.Step{Digest: value, AuthValue: true}), "both"},
		{"an empty step", policy(attestation.Step{}), "not a selection"},
		{"an unknown bank", policy(attestation.Step{PCRs: "md5:7", Digest: value}), "not a selection"},
		{"no bank", policy(attestation.Step{PCRs: "7", Digest: value}), "not a selection"},
		{"no number", policy(attestation.Step{PCRs: "sha256:", Digest: value}), "not a selection"},
		{"PCR 24", policy(attestation.Step{PCRs: "sha256:24", Digest: value}), "not a selection"},
		{"PCR -1", policy(attestation.Step{PCRs: "sha256:-1", Digest: value}), "not a selection"},
		{"a very long selection", policy(attestation.Step{PCRs: "sha256:" + strings.Repeat("0", 5000) + "7", Digest: value}), "too long"},
		{"a long selection", policy(attestation.Step{PCRs: "sha256:" + strings.Repeat("x", 200), Digest: value}), "not a selection"},
		{"a long digest", policy(attestation.Step{PCRs: "sha256:7", Digest: make([]byte, 65)}), "too long"},
		{"five banks", policy(attestation.Step{PCRs: "sha1:1+sha256:1+sha384:1+sha512:1+sha1:2", Digest: value}), "not a selection"},
		{"17 steps", policy(bytesOf(step, 17)...), "too long"},
	} {
		p := newParts(t, "rsa2048")
		test.change(&p)
		_, err := attestation.New(p)
		if test.text == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		refusal{test.name, nil, attestation.ErrMalformed, test.text}.check(t, err)
	}
}

func bytesOf(step attestation.Step, n int) (all []attestation.Step) {
	for range n {
		all = append(all, step)
	}
	return all
}
