package winstore

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func only(certs ...*x509.Certificate) keystore.Installation {
	return keystore.Installation{Certificates: certs}
}

func TestInstallRenewal(t *testing.T) {
	f, old, _ := withKey(t, "p256")
	ca := signertest.NewCA(t, "root")
	renewed := ca.Issue(t, signertest.Key(t, "p256"), nil)
	done, err := install(t.Context(), f, Config{}, only(renewed))
	if err != nil {
		t.Fatal(err)
	}
	certs := f.stores[`user\my`]
	if len(certs) != 2 || !slices.Equal(certs[0].der, old.Raw) || *certs[1].info != cng {
		t.Errorf("%d certificates, the new one linked to %+v", len(certs), certs[len(certs)-1].info)
	}
	if len(done.Kept) != 1 || !done.Kept[0].Equal(old) || done.Preferred != nil || done.Certificate != (Config{}).ref(selector.For(renewed).String()) {
		t.Errorf("%+v", done)
	}
	other := ca.Issue(t, signertest.NewKey(t, "p256"), nil)
	cfg := Config{Selector: selector.For(old)}
	if _, err := install(t.Context(), f, cfg, only(other)); !errors.Is(err, signer.ErrMismatch) {
		t.Errorf("certificate for another key: error %v", err)
	}
	if _, err := install(t.Context(), f, cfg, only()); !errors.Is(err, signer.ErrNoCertificate) {
		t.Errorf("no certificates: error %v", err)
	}
	if len(f.stores[`user\my`]) != 2 {
		t.Error("a rejected certificate is in the store")
	}
}

// Replace removes the certificates that are linked to the same key, and no others.
func TestInstallReplaces(t *testing.T) {
	f, old, _ := withKey(t, "p256")
	f.wine = true
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	machine := ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-3 * time.Hour) })
	f.add(Machine, "MY", machine, key, &keyInfo{"m", softwareProvider, 0, machineKey, 0})
	earlier := func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-2 * time.Hour) }
	other := ca.Issue(t, signertest.Key(t, "rsa2048"), earlier)
	f.add(User, "MY", other, signertest.Key(t, "rsa2048"), &keyInfo{"rsa", softwareProvider, 0, 0, 0})
	attestation := signertest.Attestation(t, key)
	f.add(User, "MY", attestation, key, &cng)
	in := only(ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = old.NotAfter.Add(-time.Minute) }))
	in.Replace = true
	done, err := install(t.Context(), f, Config{Selector: selector.For(old)}, in)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, c := range slices.Concat(f.stores[`user\my`], f.stores[`machine\my`]) {
		left = append(left, string(c.der))
	}
	want := []string{string(other.Raw), string(attestation.Raw), string(in.Certificates[0].Raw), string(machine.Raw)}
	if !slices.Equal(left, want) || len(done.Removed) != 1 || !done.Removed[0].Equal(old) {
		t.Errorf("%d certificates left, %d removed", len(left), len(done.Removed))
	}
	// The attestation certificate is never taken for the identity, and it is
	// listed as what it is.
	k := mustOpen(t, f, Config{Selector: selector.Selector{UseLatestExpiring: true}})
	if k.Chain()[0].Equal(attestation) {
		t.Error("the attestation certificate is the identity")
	}
	entries, err := keystoreList(t, f, "location=user")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Certificate.Equal(attestation) != (e.Kind == keystore.AttestationEntry) {
			t.Errorf("%s is listed as %s", e.Certificate.Subject, e.Kind)
		}
	}
}

// An error leaves the old certificate in the store, and frees all handles.
func TestInstallErrors(t *testing.T) {
	for _, op := range []string{"openStore", "addCertificate", "keyInfo", "enumerate", "acquire", "signDigest", "deleteCertificate", "closeStore", "freeCertificate"} {
		f, old, _ := withKey(t, "p256")
		f.faults[op] = errAccessDenied
		in := only(signertest.NewCA(t, "root").Issue(t, signertest.Key(t, "p256"), nil))
		in.Replace = true
		if _, err := install(t.Context(), f, Config{Selector: selector.For(old)}, in); err == nil {
			t.Errorf("%s: no error", op)
		}
		if !slices.ContainsFunc(f.stores[`user\my`], func(c *fakeCert) bool {
			return slices.Equal(c.der, old.Raw) || slices.Equal(c.der, in.Certificates[0].Raw)
		}) {
			t.Errorf("%s: neither the old nor the new certificate is there", op)
		}
	}
}
