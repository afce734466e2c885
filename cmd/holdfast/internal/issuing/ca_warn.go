package issuing

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// warnSameName warns if another key has a valid certificate with the common name of
// t, which is the identity of a machine at AWS.
func warnSameName(a front.App, ca *authority.Authority, t pki.Template) error {
	name := t.Names.CommonName()
	if name == "" || t.Profile.IsCA {
		return nil
	}
	hash, err := keyHash(t.PublicKey)
	if err != nil {
		return err
	}
	if err := ca.CheckKey(t.PublicKey); err != nil {
		return err
	}
	entries, err := ca.List()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Key == hash || e.Key == "" || !e.Revoked.IsZero() || e.NotAfter.Before(a.Now()) {
			continue
		}
		if subject, err := parseSubject(e.Subject); err == nil && (pki.Names{Subject: subject}).CommonName() == name {
			a.Logger(false).Warn(fmt.Sprintf("another key has a certificate for the common name %s, valid until %s: both machines have the same identity at AWS", name, day(e.NotAfter)),
				"hint", fmt.Sprintf("if it is not needed any more, revoke it: holdfast ca revoke --dir %s --serial %s", front.ShellQuote(ca.Dir()), e.Serial))
			return nil
		}
	}
	return nil
}

// warnSameCA warns if a folder beside the new one, or beside the file of the key, is
// a CA with the same name and key: both would use the same CRL numbers.
func warnSameCA(a front.App, dir string, key keystore.Ref, c *x509.Certificate) {
	places := []string{filepath.Dir(filepath.Clean(dir))}
	for _, file := range a.Store.Uses(key).Files {
		places = append(places, filepath.Dir(file))
	}
	for _, place := range places {
		folders, _ := os.ReadDir(place) // it is only a warning
		for _, folder := range folders {
			other := filepath.Join(place, folder.Name())
			if folder.IsDir() && filepath.Clean(other) != filepath.Clean(dir) && isSameCA(other, c) {
				a.Logger(false).Warn(fmt.Sprintf("the folder %s is a CA with the same name and key; both would use the same CRL numbers", keystore.Excerpt(other)),
					"hint", "use only one of the two folders")
				return
			}
		}
	}
}

func isSameCA(dir string, c *x509.Certificate) bool {
	data, err := keystore.ReadFile(filepath.Join(dir, "ca.pem"), keystore.MaxInput)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return false
	}
	other, err := x509.ParseCertificate(block.Bytes)
	return err == nil && bytes.Equal(other.RawSubject, c.RawSubject) && signer.SamePublicKey(other.PublicKey, c.PublicKey)
}
