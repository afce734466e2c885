package pkcs11

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// Limits for reading a token. Typical tokens have a few dozen objects.
const (
	maxObjects     = 4096
	maxCertificate = 64 << 10 // bytes
)

// An object is an object on a token.
type object struct {
	handle uint
	class  uint
	label  string
	id     []byte
	values map[uint][]byte
}

// objects returns the objects of a class that have the label and ID of u, with
// the values of additional attribute types. It skips objects that cannot be
// read, unless no object can be read.
func objects(mod module, session uint, u URI, class uint, types ...uint) ([]object, error) {
	found, unread, err := readObjects(mod, session, u, class, types...)
	if err == nil && len(found) == 0 {
		err = unread
	}
	return found, err
}

// readObjects is like objects, but returns the error of an object that cannot
// be read as unread.
//
// If no object has exactly the label of u, readObjects returns those whose label
// differs only in padding: some tools write labels with a NUL at the end.
func readObjects(mod module, session uint, u URI, class uint, types ...uint) (found []object, unread, err error) {
	found, unread, err = readExact(mod, session, u, class, types...)
	if err != nil || unread != nil || len(found) > 0 || u.Object == "" {
		return found, unread, err
	}
	label := u.Object
	u.Object = ""
	all, unread, err := readExact(mod, session, u, class, types...)
	for _, o := range all {
		if sameLabel(o.label, label) {
			found = append(found, o)
		}
	}
	if len(found) == 0 {
		unread = nil // it is not about the object of u
	}
	return found, unread, err
}

func sameLabel(a, b string) bool { return trim(a) == trim(b) }

func readExact(mod module, session uint, u URI, class uint, types ...uint) (found []object, unread, err error) {
	template := []attribute{{ckaClass, class}}
	if u.Object != "" {
		template = append(template, attribute{ckaLabel, u.Object})
	}
	if u.ID != "" {
		template = append(template, attribute{ckaID, []byte(u.ID)})
	}
	handles, err := mod.find(session, template, maxObjects)
	if err != nil {
		return nil, nil, err
	}
	if len(handles) == maxObjects {
		unread = fmt.Errorf("the token has more than %d objects of this class", maxObjects-1)
	}
	for _, h := range handles {
		values, err := mod.attributes(session, h, append([]uint{ckaLabel, ckaID}, types...)...)
		switch {
		case lostWhileReading(err):
			return nil, nil, err
		case err != nil:
			unread = err
		default:
			found = append(found, object{h, class, string(values[ckaLabel]), values[ckaID], values})
		}
	}
	return found, unread, nil
}

// uri returns the URI of an object on t.
func (o object) uri(t token) URI {
	u := t.uri()
	u.Object, u.ID = o.label, string(o.id)
	if u.Object = strings.TrimRight(u.Object, "\x00"); checkText(u.Object) != nil {
		u.Object = ""
	}
	u.Type = map[uint]string{ckoPrivateKey: "private", ckoPublicKey: "public", ckoCertificate: "cert"}[o.class]
	return u
}

// certificates returns the X.509 certificates that match u, and their objects.
// It skips certificates that cannot be parsed.
func certificates(mod module, session uint, u URI) ([]*x509.Certificate, []object, error) {
	found, err := objects(mod, session, u, ckoCertificate, ckaValue)
	if err != nil {
		return nil, nil, err
	}
	var certs []*x509.Certificate
	var kept []object
	for _, o := range found {
		if c, err := o.certificate(); err == nil {
			certs, kept = append(certs, c), append(kept, o)
		}
	}
	return certs, kept, nil
}

func (o object) certificate() (*x509.Certificate, error) {
	der := o.values[ckaValue]
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("larger than %d KiB", maxCertificate>>10)
	}
	return x509.ParseCertificate(der)
}

// A keyObject is a private key on a token, with its public key.
type keyObject struct {
	object
	pub                crypto.PublicKey
	own                bool // pub was read from the private key or has verified a signature
	alwaysAuthenticate bool // CKA_ALWAYS_AUTHENTICATE
}

// keyAttributes are attributes of private keys of all types, so that one call
// of C_GetAttributeValue returns them all.
var keyAttributes = []uint{ckaKeyType, ckaAlwaysAuthenticate}

// findKey returns the private key that has the ID and label of u, or the only
// key if u has neither. If no key matches, or if u has type=cert, it looks for
// a certificate that matches, and then for the key with the ID, the label or
// the public key of this certificate. known are certificates from outside the
// token, which select one of several keys; among keys with the label of u, so does
// [successorOf]. findKey also returns the certificates of the token together with
// known.
func findKey(t token, session uint, u URI, known []*x509.Certificate, now time.Time) (keyObject, []*x509.Certificate, error) {
	certs, certObjects, err := certificates(t.mod, session, URI{})
	if lostWhileReading(err) { // after another error the key may still be readable
		return keyObject{}, nil, err
	}
	keys, err := objects(t.mod, session, u, ckoPrivateKey, keyAttributes...)
	if err != nil {
		return keyObject{}, nil, err
	}
	if u.Type == "cert" || len(keys) == 0 {
		byCert, err := keysOfCertificates(t.mod, session, u, certObjects)
		if err != nil {
			return keyObject{}, nil, err
		}
		if len(byCert) > 0 {
			keys = byCert
		}
	}
	allCerts := append(certs[:len(certs):len(certs)], known...)
	if len(keys) > 1 {
		if one := keysWithCertificate(t.mod, session, keys, known); len(one) == 1 {
			keys = one
		} else if u.Object != "" {
			if one := successorOf(t.mod, session, keys, allCerts, certObjects, now); len(one) == 1 {
				keys = one
			}
		}
	}
	if len(keys) == 0 {
		return keyObject{}, nil, notFound(t, session, u)
	}
	candidates, err := candidatesOf(t.mod, session, keys, certs, certObjects, known)
	if err != nil {
		return keyObject{}, nil, err
	}
	if len(keys) == 1 && len(candidates[0].pubs) == 1 {
		return candidates[0].key(0), allCerts, nil
	}
	if key, ok := prove(t.mod, session, candidates, len(keys) > 1, known); ok {
		return key, allCerts, nil
	}
	if len(keys) > 1 {
		return keyObject{}, nil, signer.WithHint(fmt.Errorf("%d private keys: %w", len(keys), signer.ErrAmbiguous),
			"use one of: "+listObjects(t, keys, u))
	}
	return keyObject{}, nil, signer.WithHint(fmt.Errorf("%d public keys could belong to the private key: %w", len(candidates[0].pubs), signer.ErrAmbiguous),
		"give only the certificate of this key")
}

// keysOfCertificates returns the private keys of the certificates that have the
// label and ID of u.
func keysOfCertificates(mod module, session uint, u URI, certs []object) ([]object, error) {
	var all []object
	for _, c := range certs {
		if u.Object != "" && !sameLabel(u.Object, c.label) || u.ID != "" && u.ID != string(c.id) {
			continue
		}
		keys, err := keysOfCertificate(mod, session, c)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if !slices.ContainsFunc(all, func(o object) bool { return o.handle == k.handle }) {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

func keysOfCertificate(mod module, session uint, c object) ([]object, error) {
	for _, by := range []URI{{ID: string(c.id)}, {Object: c.label}} {
		if by == (URI{}) {
			continue
		}
		keys, err := objects(mod, session, by, ckoPrivateKey, keyAttributes...)
		if err != nil || len(keys) > 0 {
			return keys, err
		}
	}
	cert, err := x509.ParseCertificate(c.values[ckaValue])
	if err != nil {
		return nil, nil
	}
	all, err := objects(mod, session, URI{}, ckoPrivateKey, keyAttributes...)
	if err != nil {
		return nil, err
	}
	return keysWithCertificate(mod, session, all, []*x509.Certificate{cert}), nil
}

// keysWithCertificate returns the keys whose public key the token provides and
// one of certs contains.
func keysWithCertificate(mod module, session uint, keys []object, certs []*x509.Certificate) []object {
	var found []object
	for _, k := range keys {
		pub, err := publicFromToken(mod, session, k)
		if err != nil || pub == nil {
			continue
		}
		for _, c := range certs {
			if signer.SamePublicKey(c.PublicKey, pub) {
				found = append(found, k)
				break
			}
		}
	}
	return found
}

func notFound(t token, session uint, u URI) error {
	err := fmt.Errorf("the token %s does not contain the private key: %w", quote(trim(t.info.label)), signer.ErrNotFound)
	all, listErr := objects(t.mod, session, URI{}, ckoPrivateKey)
	if listErr != nil || len(all) == 0 {
		return signer.WithHint(err, "the token has no private key that is visible to this user")
	}
	hint := "use one of: " + listObjects(t, all, u)
	if id, err := hex.DecodeString(strings.TrimPrefix(u.ID, "0x")); err == nil && slices.ContainsFunc(all, func(o object) bool { return string(o.id) == string(id) }) {
		hint = "in a reference, each byte of an ID has a % before it; " + hint
	}
	return signer.WithHint(err, hint)
}

// listObjects returns the URIs of objects on t, with the module and the PIN source
// of u.
func listObjects(t token, all []object, u URI) string {
	var uris []string
	for _, o := range all {
		uris = append(uris, o.uri(t).toUse(u).String())
	}
	return strings.Join(uris, "  ")
}

func isTrue(v []byte) bool { return len(v) > 0 && v[0] != 0 }
