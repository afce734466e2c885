package attestation_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// endorsementKinds are the types of endorsement keys.
var endorsementKinds = []string{"rsa2048", "p256", "p384"}

// wrapFor returns a wrapped certificate.
func wrapFor(tb testing.TB, e *attestation.Evidence, chain []byte) []byte {
	tb.Helper()
	w, err := e.Wrap(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := w.Seal(chain)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// unwrap is what a TPM with the private endorsement key ek and a key with the given
// public area does.
func unwrap(data []byte, ek crypto.Signer, area []byte) ([]byte, error) {
	w, err := attestation.ParseWrapped(data)
	if err != nil {
		return nil, err
	}
	secret, err := activateWrapped(w, ek, area)
	if err != nil {
		return nil, err
	}
	return w.Open(secret)
}

func activateWrapped(w *attestation.Wrapped, ek crypto.Signer, area []byte) ([]byte, error) {
	blob, secret := w.Credential()
	return activate(ek, area, blob, secret)
}

// A certificate is unwrapped by the TPM with the key, and by no other one.
func TestWrap(t *testing.T) {
	chain := signertest.CertPEM(signertest.NewCA(t, "root").Cert)
	for _, kind := range endorsementKinds {
		for _, nameAlg := range []tpm2.TPMAlgID{tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512} {
			p := newParts(t, kind)
			p.PublicArea = newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.NameAlg = nameAlg })
			e, ek := newEvidence(t, p), signertest.Key(t, kind)
			data := wrapFor(t, e, chain)
			if got, err := unwrap(data, ek, p.PublicArea); err != nil || !bytes.Equal(got, chain) {
				t.Errorf("%s, name %v: %q, %v", kind, nameAlg, got, err)
			}
			w, err := attestation.ParseWrapped(data)
			if err != nil || !signer.SamePublicKey(w.Key(), appKey(t)) || !signer.SamePublicKey(w.EndorsementKey(), ek.Public()) {
				t.Errorf("%s: the keys are not those of the evidence: %v", kind, err)
			}
			if spki, ok := attestation.WrappedKey(data); !ok || !bytes.Equal(spki, spkiOf(t, appKey(t))) || !attestation.IsFile(data) {
				t.Errorf("%s: the key is %x, %v", kind, spki, ok)
			}
			if _, ok := attestation.EvidenceKey(data); ok {
				t.Errorf("%s: a wrapped certificate is evidence", kind)
			}
			if !strings.Contains(string(data), e.Digest()) {
				t.Errorf("%s: the file does not name the evidence", kind)
			}
			if encoded := base64.StdEncoding.EncodeToString(chain); bytes.Contains(data, []byte(encoded[:64])) || bytes.Contains(data, chain[:64]) {
				t.Errorf("%s: the certificate is not encrypted", kind)
			}

			for name, area := range map[string][]byte{
				"another key":        newArea(t, signertest.Key(t, "p384").Public(), func(a *tpm2.TPMTPublic) { a.NameAlg = nameAlg }),
				"an imported key":    newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.NameAlg, a.ObjectAttributes.SensitiveDataOrigin = nameAlg, false }),
				"a key without auth": newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.NameAlg, a.ObjectAttributes.UserWithAuth = nameAlg, false }),
				"another policy":     newArea(t, appKey(t), func(a *tpm2.TPMTPublic) { a.NameAlg, a.AuthPolicy.Buffer = nameAlg, make([]byte, 32) }),
			} {
				if got, err := unwrap(data, ek, area); !errors.Is(err, signer.ErrMismatch) {
					t.Errorf("%s, a TPM with %s: %q, %v", kind, name, got, err)
				}
			}
			if got, err := unwrap(data, signertest.NewKey(t, kind), p.PublicArea); !errors.Is(err, signer.ErrMismatch) {
				t.Errorf("%s, another TPM: %q, %v", kind, got, err)
			}
		}
	}
}

// The coordinates of points and the shared secret have a fixed size. Of 256 of them,
// one begins with a zero.
func TestWrapManyTimes(t *testing.T) {
	for _, kind := range []string{"p256", "p384"} {
		for range 4 {
			ek := signertest.NewKey(t, kind)
			p := newParts(t, kind)
			p.EndorsementKey = spkiOf(t, ek.Public())
			e := newEvidence(t, p)
			for range 128 {
				if got, err := unwrap(wrapFor(t, e, []byte("chain")), ek, p.PublicArea); err != nil || string(got) != "chain" {
					t.Fatalf("%s: %q, %v", kind, got, err)
				}
			}
		}
	}
}

// Two files for the same evidence share no secret and no seed.
func TestWrapIsRandom(t *testing.T) {
	e := newEvidence(t, newParts(t, "p256"))
	first, second := fieldsOf(t, wrapFor(t, e, []byte("chain"))), fieldsOf(t, wrapFor(t, e, []byte("chain")))
	for _, name := range []string{"credential_blob", "encrypted_secret", "certificate"} {
		if bytes.Equal(first[name], second[name]) {
			t.Errorf("%s is the same twice", name)
		}
	}
	for n := range int64(32) {
		if _, err := e.Wrap(io.LimitReader(rand.Reader, n)); err == nil {
			t.Errorf("a secret of %d random bytes", n)
		}
	}
	broken := errors.New("no entropy")
	if _, err := e.Wrap(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// fieldsOf returns the fields of a wrapped certificate that are base64.
func fieldsOf(tb testing.TB, data []byte) map[string][]byte {
	tb.Helper()
	file, fields := make(map[string]any), make(map[string][]byte)
	if err := json.Unmarshal(data, &file); err != nil {
		tb.Fatal(err)
	}
	for name, value := range file {
		text, ok := value.(string)
		if decoded, err := base64.StdEncoding.DecodeString(text); ok && err == nil && name != "evidence_sha256" && name != "type" {
			fields[name] = decoded
		}
	}
	if names := slices.Sorted(maps.Keys(fields)); !slices.Equal(names, []string{"certificate", "credential_blob", "encrypted_secret", "endorsement_key", "public_key"}) {
		tb.Fatal(names)
	}
	return fields
}

// wantChanged checks that a changed file is not unwrapped.
func wantChanged(t *testing.T, what string, data []byte, ek crypto.Signer, area []byte) {
	t.Helper()
	if got, err := unwrap(data, ek, area); !errors.Is(err, signer.ErrMismatch) && !errors.Is(err, attestation.ErrMalformed) {
		t.Errorf("%s: %q, %v", what, got, err)
	}
}

// A file of which any byte was changed is not unwrapped.
func TestWrappedIsAuthentic(t *testing.T) {
	for _, kind := range endorsementKinds {
		t.Run(kind, func(t *testing.T) {
			p, ek := newParts(t, kind), signertest.Key(t, kind)
			e := newEvidence(t, p)
			good := wrapFor(t, e, []byte("the certificate"))
			for name, value := range fieldsOf(t, good) {
				for i := range value {
					altered := bytes.Clone(value)
					altered[i] ^= 1
					wantChanged(t, name, with(t, good, map[string]any{name: altered}), ek, p.PublicArea)
				}
				for what, altered := range map[string][]byte{"cut": value[:len(value)-1], "longer": append(bytes.Clone(value), 0), "empty": {}} {
					wantChanged(t, name+" "+what, with(t, good, map[string]any{name: altered}), ek, p.PublicArea)
				}
				wantChanged(t, "no "+name, with(t, good, map[string]any{name: nil}), ek, p.PublicArea)
			}
			digest := []byte(e.Digest())
			for i := range digest {
				altered := bytes.Clone(digest)
				altered[i] ^= 1
				wantChanged(t, "evidence", with(t, good, map[string]any{"evidence_sha256": string(altered)}), ek, p.PublicArea)
			}
			for _, text := range []any{nil, "", strings.ToUpper(e.Digest()), e.Digest() + " "} {
				wantChanged(t, "evidence", with(t, good, map[string]any{"evidence_sha256": text}), ek, p.PublicArea)
			}
			for name, key := range map[string]crypto.PublicKey{"public_key": signertest.Key(t, "p384").Public(), "endorsement_key": signertest.NewKey(t, kind).Public()} {
				wantChanged(t, name, with(t, good, map[string]any{name: spkiOf(t, key)}), ek, p.PublicArea)
			}

			other := wrapFor(t, e, []byte("the certificate"))
			for _, name := range []string{"certificate", "credential_blob", "encrypted_secret"} {
				swapped := with(t, good, map[string]any{name: fieldsOf(t, other)[name]})
				wantChanged(t, "swapped "+name, swapped, ek, p.PublicArea)
			}
			wantChanged(t, "swapped credential", with(t, good, map[string]any{
				"credential_blob": fieldsOf(t, other)["credential_blob"], "encrypted_secret": fieldsOf(t, other)["encrypted_secret"],
			}), ek, p.PublicArea)
			if k, ok := ek.(*ecdsa.PrivateKey); ok {
				wantChanged(t, "negated point", with(t, good, map[string]any{"encrypted_secret": negated(k.Curve, fieldsOf(t, good)["encrypted_secret"])}), ek, p.PublicArea)
			}
			if _, err := unwrap(with(t, good, nil), ek, p.PublicArea); err != nil { // only white space changed
				t.Error(err)
			}
		})
	}
}

// negated returns the point with the same x coordinate, with which ECDH has the same
// result.
func negated(curve elliptic.Curve, secret []byte) []byte {
	x, rest, _ := sized(secret)
	y, _, _ := sized(rest)
	other := new(big.Int).Sub(curve.Params().P, new(big.Int).SetBytes(y))
	return tpm2.Marshal(tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: other.FillBytes(make([]byte, len(y)))}})
}

// TestOpen has secrets that are not that of the file.
func TestOpen(t *testing.T) {
	p, ek := newParts(t, "p256"), signertest.Key(t, "p256")
	w, err := attestation.ParseWrapped(wrapFor(t, newEvidence(t, p), []byte("chain")))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := activateWrapped(w, ek, p.PublicArea)
	if err != nil || len(secret) != 32 {
		t.Fatalf("%d bytes, %v", len(secret), err)
	}
	for i := range secret {
		altered := bytes.Clone(secret)
		altered[i] ^= 0x80
		if _, err := w.Open(altered); !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for _, n := range []int{0, 1, 16, 24, 31, 33, 64} {
		_, err := w.Open(append(bytes.Clone(secret), make([]byte, 64)...)[:n])
		if !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("%d bytes: %v", n, err)
		}
		wantHint(t, err)
	}
	for range 2 { // it is immutable
		if got, err := w.Open(secret); err != nil || string(got) != "chain" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A file that would be too large to be parsed is not written.
func TestTooLargeToWrite(t *testing.T) {
	claims := attestation.Claims{Key: appKey(t)}
	data, err := claims.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		size int
		want error
	}{{attestation.MaxSize - 1, nil}, {attestation.MaxSize, nil}, {attestation.MaxSize + 1, attestation.ErrMalformed}} {
		claims.Device = strings.Repeat("x", test.size-len(data))
		file, err := claims.Marshal()
		if !errors.Is(err, test.want) || test.want == nil && len(file) != test.size {
			t.Errorf("a file of %d bytes: %v", test.size, err)
		}
		if _, ok := attestation.EvidenceKey(file); ok != (test.want == nil) {
			t.Errorf("a file of %d bytes: EvidenceKey accepts it: %v", test.size, ok)
		}
	}
	w, err := newEvidence(t, newParts(t, "p256")).Wrap(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Seal(make([]byte, attestation.MaxSize*3/4)); !errors.Is(err, attestation.ErrMalformed) {
		t.Error(err)
	}
}
