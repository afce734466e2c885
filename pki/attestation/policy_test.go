package attestation_test

import (
	"crypto"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestPolicies has keys with and without a policy, and what a CA can require.
func TestPolicies(t *testing.T) {
	ones, onesText := pcr(32, 1)
	_, twosText := pcr(32, 2)
	seven := selectionOf(tpm2.TPMAlgSHA256, 7)
	step := func(hash crypto.Hash) []byte { return pcrStep(seven, sum(hash, ones)) }
	const sha256, sha384 = tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384
	met, metWithPassword := policyOf(crypto.SHA256, step(crypto.SHA256)), policyOf(crypto.SHA256, step(crypto.SHA256), authStep)
	required, another := "pcr=sha256:7="+onesText, "pcr=sha256:7="+twosText
	for _, test := range []struct {
		name     string
		nameAlg  tpm2.TPMAlgID
		policy   []byte // of the key
		userAuth bool
		required []string
		want     error
		text     string
	}{
		{"none required, none there", sha256, nil, true, nil, nil, ""},
		{"none required", sha256, met, false, nil, nil, ""},
		{"none required, also with its password", sha256, met, true, nil, nil, ""},
		{"none required, unknown", sha256, make([]byte, 32), false, nil, nil, ""},
		{"met", sha256, met, false, []string{required}, nil, ""},
		{"met, and the password", sha256, metWithPassword, false, []string{required}, nil, ""},
		{"in upper case", sha256, met, false, []string{"pcr=sha256:7=0X" + strings.ToUpper(onesText)}, nil, ""},
		{"the second one is met", sha256, met, false, []string{another, required}, nil, ""},
		{"the first one is met", sha256, metWithPassword, false, []string{required, another}, nil, ""},
		{"SHA-384 name", sha384, policyOf(crypto.SHA384, step(crypto.SHA384)), false, []string{required}, nil, ""},
		{"SHA-384 name, and the password", sha384, policyOf(crypto.SHA384, step(crypto.SHA384), authStep), false, []string{required}, nil, ""},
		{"SHA-512 name", tpm2.TPMAlgSHA512, policyOf(crypto.SHA512, step(crypto.SHA512)), false, []string{required}, nil, ""},

		{"no policy", sha256, nil, true, []string{required}, attestation.ErrPolicy, "it has none"},
		{"no policy, and no password", sha256, nil, false, []string{required}, attestation.ErrPolicy, "it has none"},
		{"also without its policy", sha256, met, true, []string{required}, attestation.ErrPolicy, "userWithAuth"},
		{"another value", sha256, met, false, []string{another}, attestation.ErrPolicy, another},
		{"another PCR", sha256, met, false, []string{"pcr=sha256:6=" + onesText}, attestation.ErrPolicy, "sha256:6="},
		{"one PCR more", sha256, met, false, []string{"pcr=sha256:7=" + onesText + ",8=" + onesText}, attestation.ErrPolicy, "sha256:7="},
		{"one bank more", sha256, met, false, []string{required + "+sha1:7=" + onesText[:40]}, attestation.ErrPolicy, "sha256:7="},
		{"neither of two", sha256, met, false, []string{another, "pcr=sha256:0=" + onesText}, attestation.ErrPolicy, another + " or pcr=sha256:0="},
		{"only the password", sha256, policyOf(crypto.SHA256, authStep), false, []string{required}, attestation.ErrPolicy, "unknown"},
		{"the password before", sha256, policyOf(crypto.SHA256, authStep, step(crypto.SHA256)), false, []string{required}, attestation.ErrPolicy, "unknown"},
		{"twice", sha256, policyOf(crypto.SHA256, step(crypto.SHA256), step(crypto.SHA256)), false, []string{required}, attestation.ErrPolicy, "unknown"},
		{"a policy without a condition", sha256, make([]byte, 32), false, []string{required}, attestation.ErrPolicy, "unknown"},
		{"the digest of another hash function", sha384, met, false, []string{required}, attestation.ErrPolicy, "unknown"},
		{"a part of the digest", sha256, met[:31], false, []string{required}, attestation.ErrPolicy, "unknown"},
		{"the digest and more", sha256, append(met[:32:32], 0), false, []string{required}, attestation.ErrPolicy, "unknown"},
	} {
		p := newParts(t, "p256")
		p.PublicArea = newArea(t, appKey(t), func(a *tpm2.TPMTPublic) {
			a.NameAlg, a.AuthPolicy.Buffer, a.ObjectAttributes.UserWithAuth = test.nameAlg, test.policy, test.userAuth
		})
		e := newEvidence(t, p)
		trust := attestation.Trust{Endorsements: []string{e.EndorsementHash()}}
		for _, text := range test.required {
			trust.Policies = append(trust.Policies, mustParsePolicy(t, text))
		}
		wantReason(t, test.name, e.Verify(trust), test.want, test.text)
	}
	// The words of the evidence change nothing, but say to which PCRs the key is bound.
	p := newParts(t, "p256")
	p.PublicArea = newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.AuthPolicy.Buffer, a.ObjectAttributes.UserWithAuth = met, false })
	p.Policy = []attestation.Step{{PCRs: "sha256:7", Digest: sum(crypto.SHA256, ones)}}
	e := newEvidence(t, p)
	trust := attestation.Trust{Endorsements: []string{e.EndorsementHash()}, Policies: []attestation.Policy{mustParsePolicy(t, another)}}
	wantReason(t, "words", e.Verify(trust), attestation.ErrPolicy, "bound to PCRs sha256:7, with other PCRs or other values than ")
	// A policy does not replace the trust in the TPM.
	trust = attestation.Trust{Policies: []attestation.Policy{mustParsePolicy(t, required)}}
	wantReason(t, "no trust", e.Verify(trust), attestation.ErrUntrustedTPM, "")
	p.EndorsementKey = spkiOf(t, signertest.Key(t, "p521").Public())
	wantReason(t, "unsupported", newEvidence(t, p).Verify(trust), errors.ErrUnsupported, "P-521")
}

// The PCRs of a policy are hashed in the order of their numbers, and the banks in that
// of the text.
func TestPolicyOrder(t *testing.T) {
	ones, onesText := pcr(32, 1)
	twos, twosText := pcr(32, 2)
	threes, threesText := pcr(48, 3)
	both := selectionOf(tpm2.TPMAlgSHA256, 0, 23)
	binary.BigEndian.PutUint32(both, 2)
	both = append(both, selectionOf(tpm2.TPMAlgSHA384, 8)[4:]...)
	digest := policyOf(crypto.SHA256, pcrStep(both, sum(crypto.SHA256, ones, twos, threes)))
	p := newParts(t, "p256")
	p.PublicArea = newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.AuthPolicy.Buffer, a.ObjectAttributes.UserWithAuth = digest, false })
	p.Policy = []attestation.Step{{PCRs: "sha256:23,0+sha384:8", Digest: sum(crypto.SHA256, ones, twos, threes)}}
	e := newEvidence(t, p)
	for text, want := range map[string]error{
		"pcr=sha256:0=" + onesText + ",23=" + twosText + "+sha384:8=" + threesText:  nil,
		"pcr=sha256:23=" + twosText + ",0=" + onesText + "+sha384:8=" + threesText:  nil,
		"pcr=sha256:00=" + onesText + ",23=" + twosText + "+sha384:8=" + threesText: nil,
		"pcr=sha384:8=" + threesText + "+sha256:0=" + onesText + ",23=" + twosText:  attestation.ErrPolicy,
		"pcr=sha256:0=" + twosText + ",23=" + onesText + "+sha384:8=" + threesText:  attestation.ErrPolicy,
	} {
		policy := mustParsePolicy(t, text)
		if policy.String() != text {
			t.Errorf("the text is %q", policy)
		}
		wantReason(t, text, e.Verify(attestation.Trust{Endorsements: []string{e.EndorsementHash()}, Policies: []attestation.Policy{policy}}), want, "")
	}
}

// TestParsePolicy has texts that are policies, and others.
func TestParsePolicy(t *testing.T) {
	_, sha1 := pcr(20, 0)
	_, sha256 := pcr(32, 0xab)
	_, sha384 := pcr(48, 0)
	_, sha512 := pcr(64, 0xff)
	for _, good := range []string{
		"pcr=sha1:0=" + sha1, "pcr=sha256:7=" + sha256, "pcr=sha384:23=" + sha384, "pcr=sha512:16=" + sha512,
		"pcr=sha256:7=0x" + sha256, "pcr=sha256:7=" + strings.ToUpper(sha256), "pcr=sha256:7=0X" + sha256, "pcr=sha256:07=" + sha256,
		"pcr=sha256:0=" + sha256 + ",1=" + sha256, "pcr=sha256:1=" + sha256 + ",0=" + sha256,
		"pcr=sha1:0=" + sha1 + "+sha256:0=" + sha256 + "+sha384:0=" + sha384 + "+sha512:0=" + sha512,
	} {
		if p, err := attestation.ParsePolicy(good); err != nil || p.String() != good {
			t.Errorf("%s: %v, %v", good, p, err)
		}
	}
	for _, bad := range []string{
		"", "pcr", "pcr=", "pcr=+", "PCR=sha256:7=" + sha256, "pcrs=sha256:7=" + sha256, "sha256:7=" + sha256, "pcr:sha256:7=" + sha256,
		"pcr=sha256", "pcr=sha256:", "pcr=sha256:7", "pcr=sha256:7=", "pcr=sha256:7=0x", "pcr=sha256:7=" + sha256[1:], "pcr=sha256:7=" + sha256[2:], "pcr=sha256:7=" + sha256 + "00",
		"pcr=sha256:7=" + sha1, "pcr=sha1:7=" + sha256, "pcr=sha256:7=0x0x" + sha256, "pcr=sha256:7=" + strings.Repeat("zz", 32),
		"pcr=md5:7=" + sha256, "pcr=SHA256:7=" + sha256, "pcr=sha-256:7=" + sha256, "pcr=sha3-256:7=" + sha256, "pcr=:7=" + sha256, "pcr=7=" + sha256,
		"pcr=sha256:24=" + sha256, "pcr=sha256:-1=" + sha256, "pcr=sha256:+7=" + sha256, "pcr=sha256:0x7=" + sha256, "pcr=sha256:256=" + sha256, "pcr=sha256:99999999999999999999=" + sha256,
		"pcr=sha256: 7=" + sha256, "pcr=sha256:7=" + sha256 + " ", "pcr=sha256:7=" + sha256 + "\n", " pcr=sha256:7=" + sha256, "pcr=sha256:7 =" + sha256,
		"pcr=sha256:7=" + sha256 + ",", "pcr=sha256:,7=" + sha256, "pcr=sha256:7=" + sha256 + "+", "pcr=+sha256:7=" + sha256, "pcr=sha256:7=" + sha256 + ";0=" + sha256,
		"pcr=sha256:7=" + sha256 + ",7=" + sha256, "pcr=sha256:7=" + sha256 + ",07=" + sha256, "pcr=sha256:7=" + sha256 + "+sha256:8=" + sha256, "pcr=sha256:7=" + sha256 + "=" + sha256,
	} {
		_, err := attestation.ParsePolicy(bad)
		if err == nil {
			t.Errorf("%q is a policy", bad)
			continue
		}
		wantHint(t, err)
		if strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := attestation.ParsePolicy("pcr=sha256:7=" + sha1); err == nil || !strings.Contains(err.Error(), "PCR 7 has 40 hexadecimal digits") {
		t.Error(err)
	}
}
