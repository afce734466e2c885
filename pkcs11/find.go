package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// What is read from a token at most. Tokens in use have some dozen objects.
const (
	maxObjects     = 4096
	maxCertificate = 64 << 10 // bytes
)

// An object is one on a token, with what names it.
type object struct {
	handle uint
	class  uint
	label  string
	id     []byte
	values map[uint][]byte
}

// objects returns those of a class that have the label and ID of u, with the
// values of further attribute types. One that cannot be read is passed over if
// there are others.
func objects(mod module, session uint, u URI, class uint, types ...uint) ([]object, error) {
	found, unread, err := readObjects(mod, session, u, class, types...)
	if err == nil && len(found) == 0 {
		err = unread
	}
	return found, err
}

// readObjects is objects, and tells the error of one that cannot be read.
func readObjects(mod module, session uint, u URI, class uint, types ...uint) (found []object, unread, err error) {
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
		unread = fmt.Errorf("the token has more than %d of them", maxObjects-1)
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

// uri names an object of t.
func (o object) uri(t token) URI {
	u := t.uri()
	u.Object, u.ID = o.label, string(o.id)
	if checkText(u.Object) != nil {
		u.Object = ""
	}
	u.Type = map[uint]string{ckoPrivateKey: "private", ckoPublicKey: "public", ckoCertificate: "cert"}[o.class]
	return u
}

// certificates returns the X.509 certificates that u names, and their objects.
// Others that a token holds are passed over.
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
		return nil, fmt.Errorf("is larger than %d KiB", maxCertificate>>10)
	}
	return x509.ParseCertificate(der)
}

// A keyObject is a private key on a token and what is known of it.
type keyObject struct {
	object
	pub                crypto.PublicKey
	alwaysAuthenticate bool // CKA_ALWAYS_AUTHENTICATE
}

// keyAttributes are those that keys of all types have: a module is asked for
// several at once as long as it has them all.
var keyAttributes = []uint{ckaKeyType, ckaAlwaysAuthenticate}

// findKey returns the one private key that u names: by ID and label if it has
// them, otherwise the only one. If no key has them a certificate may, and the
// key is its: by its ID, then by its label, then by its public key. known are
// certificates from elsewhere, one of which may be the key's.
func findKey(t token, session uint, u URI, known []*x509.Certificate) (keyObject, []*x509.Certificate, error) {
	certs, certObjects, err := certificates(t.mod, session, URI{})
	if lostWhileReading(err) { // without certificates there may be a key all the same
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
	pool := append(certs[:len(certs):len(certs)], known...)
	if len(keys) > 1 {
		if one := keysWithCertificate(t.mod, session, keys, known); len(one) == 1 {
			keys = one
		}
	}
	switch len(keys) {
	case 0:
		return keyObject{}, nil, notFound(t, session, u)
	case 1:
	default:
		return keyObject{}, nil, signer.WithHint(fmt.Errorf("%d private keys: %w", len(keys), signer.ErrAmbiguous),
			"name one of: "+listObjects(t, keys, u))
	}
	key, err := resolvePublicKey(t.mod, session, keys[0], pool, certObjects, certs)
	if err != nil {
		return keyObject{}, nil, err
	}
	return key, pool, nil
}

// keysOfCertificates returns the private keys of the certificates that u names.
func keysOfCertificates(mod module, session uint, u URI, certs []object) ([]object, error) {
	var all []object
	for _, c := range certs {
		if u.Object != "" && u.Object != c.label || u.ID != "" && u.ID != string(c.id) {
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

// keysWithCertificate returns the keys whose public half the token shows and
// one of certs has.
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

// describe finds out the public key: from the token's objects, from a
// certificate on the token with the key's ID, or from the only certificate
// that fits from elsewhere.
func resolvePublicKey(mod module, session uint, o object, pool []*x509.Certificate, certObjects []object, certs []*x509.Certificate) (keyObject, error) {
	key := keyObject{object: o, alwaysAuthenticate: isTrue(o.values[ckaAlwaysAuthenticate])}
	pub, err := publicFromToken(mod, session, o)
	if err != nil {
		return key, err
	}
	if pub != nil {
		key.pub = pub
		return key, nil
	}
	for i, c := range certObjects {
		if len(o.id) > 0 && bytes.Equal(c.id, o.id) && mayMatch(o, certs[i].PublicKey) {
			key.pub = certs[i].PublicKey
			return key, nil
		}
	}
	for _, c := range pool[len(certs):] {
		if !c.IsCA && mayMatch(o, c.PublicKey) {
			key.pub = c.PublicKey
			return key, nil
		}
	}
	return key, signer.WithHint(errors.New("the token does not show the public half of the key"),
		"put the certificate on the token with the key's ID, or give it with Config.Certificates")
}

func notFound(t token, session uint, u URI) error {
	err := fmt.Errorf("no such private key on token %s: %w", quote(trim(t.info.label)), signer.ErrNotFound)
	all, listErr := objects(t.mod, session, URI{}, ckoPrivateKey)
	if listErr != nil || len(all) == 0 {
		return signer.WithHint(err, "the token shows no private key at all")
	}
	return signer.WithHint(err, "there are: "+listObjects(t, all, u))
}

// listObjects names objects of t, by the module that u names.
func listObjects(t token, all []object, u URI) string {
	var uris []string
	for _, o := range all {
		uris = append(uris, o.uri(t).withModuleOf(u).String())
	}
	return strings.Join(uris, "  ")
}

func isTrue(v []byte) bool { return len(v) > 0 && v[0] != 0 }
