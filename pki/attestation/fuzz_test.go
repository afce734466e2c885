package attestation_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// seeds are evidence of all kinds.
func seeds(f *testing.F) (all []*attestation.Evidence) {
	maker := signertest.NewCA(f, "maker")
	value, _ := pcr(32, 1)
	digest := sum(crypto.SHA256, value)
	for _, kind := range endorsementKinds {
		p := newParts(f, kind)
		all = append(all, newEvidence(f, p))
		p.EndorsementCertificate, p.EndorsementIssuers = certify(f, maker, signertest.Key(f, kind), nil), [][]byte{maker.Cert.Raw}
		p.PublicArea = newArea(f, signertest.Key(f, "rsa2048").Public(), nil)
		all = append(all, newEvidence(f, p))
		p.PublicArea = newArea(f, appKey(f), func(a *tpm2.TPMTPublic) {
			a.AuthPolicy.Buffer, a.ObjectAttributes.UserWithAuth = policyOf(crypto.SHA256, pcrStep(selectionOf(tpm2.TPMAlgSHA256, 7), digest), authStep), false
		})
		p.Policy = []attestation.Step{{PCRs: "sha256:7", Digest: digest}, {AuthValue: true}}
		all = append(all, newEvidence(f, p))
	}
	return all
}

// What Parse accepts can be made of its parts, and nothing panics with it.
func FuzzParse(f *testing.F) {
	for _, e := range seeds(f) {
		f.Add(e.Marshal())
	}
	claims, err := attestation.Claims{Device: "token", Key: appKey(f), Attributes: map[string]bool{"CKA_LOCAL": true}}.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(claims)
	root := signertest.NewCA(f, "root").Cert
	policy := mustParsePolicy(f, "pcr=sha1:0=0000000000000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, data []byte) {
		attestation.EvidenceKey(data)
		e, err := attestation.Parse(data)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		var p attestation.Parts
		if err := json.Unmarshal(data, &p); err != nil {
			t.Fatal(err)
		}
		made, err := attestation.New(p)
		if err != nil {
			if len(data) < attestation.MaxSize/2 { // otherwise spaces can make it too large
				t.Fatal(err)
			}
			return
		}
		again, err := attestation.Parse(made.Marshal())
		if err != nil || !reflect.DeepEqual(made, again) {
			t.Fatalf("the evidence that was parsed again differs: %v", err)
		}
		if !signer.SamePublicKey(e.Key(), made.Key()) || e.EndorsementHash() != made.EndorsementHash() || e.PolicyText() != made.PolicyText() || !e.Certificate().Equal(made.Certificate()) {
			t.Fatal("the evidence differs from that of its parts")
		}
		for _, trust := range []attestation.Trust{{}, {Endorsements: []string{e.EndorsementHash()}, Policies: []attestation.Policy{policy}}} {
			checkReason(t, e.Verify(trust))
		}
		trust := attestation.Trust{}
		trust.Roots = append(trust.Roots, root)
		checkReason(t, e.Verify(trust))
		checkKey := e.CheckKey()
		checkReason(t, checkKey)
		w, err := e.Wrap(zeros{})
		if err != nil {
			if checkKey == nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		wrapped, err := w.Seal([]byte("chain"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attestation.ParseWrapped(wrapped); err != nil {
			t.Fatal(err)
		}
	})
}

func checkRefusal(t *testing.T, err error) {
	if !errors.Is(err, attestation.ErrMalformed) && !errors.Is(err, attestation.ErrVersion) && !errors.Is(err, attestation.ErrClaims) {
		t.Fatal(err)
	}
}

func checkReason(t *testing.T, err error) {
	if err == nil {
		return
	}
	for _, reason := range reasons {
		if errors.Is(err, reason) {
			return
		}
	}
	t.Fatal(err)
}

// Nothing panics with what ParseWrapped accepts, and no secret opens it but its own.
func FuzzParseWrapped(f *testing.F) {
	for _, e := range seeds(f) {
		f.Add(wrapFor(f, e, []byte("chain")), make([]byte, 32))
	}
	area := newArea(f, appKey(f), nil)
	f.Fuzz(func(t *testing.T, data, secret []byte) {
		w, err := attestation.ParseWrapped(data)
		if spki, ok := attestation.WrappedKey(data); ok != (err == nil) {
			t.Fatalf("WrappedKey is %x, but ParseWrapped returns %v", spki, err)
		}
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if !attestation.IsFile(data) || w.Key() == nil || w.EndorsementKey() == nil {
			t.Fatal("a file without keys")
		}
		if _, err := w.Open(secret); err != nil && !errors.Is(err, signer.ErrMismatch) {
			t.Fatal(err)
		}
		for _, kind := range endorsementKinds {
			secret, err := activateWrapped(w, signertest.Key(t, kind), area)
			if err != nil {
				continue
			}
			if chain, err := w.Open(secret); err == nil && !bytes.Equal(chain, []byte("chain")) {
				t.Fatalf("a changed file contains %q", chain)
			}
		}
	})
}
