//go:build darwin || (linux && (amd64 || arm64))

package secfw

import (
	"errors"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
)

// maxItems bounds the number of items that are read from one scope. Keychains in
// use have a few hundred.
const maxItems = 4096

// scopes has the key and the value that restrict a query to a scope. Every
// program, signed or not, implicitly belongs to the access group of the tokens.
var scopes = map[native.Scope][2]string{
	native.Files:          {"kSecUseDataProtectionKeychain", "kCFBooleanFalse"},
	native.DataProtection: {"kSecUseDataProtectionKeychain", "kCFBooleanTrue"},
	native.Tokens:         {"kSecAttrAccessGroup", "kSecAttrAccessGroupToken"},
}

var _ native.System = (*API)(nil)

// Identities implements [native.System].
func (a *API) Identities(scope native.Scope) (all []native.Identity, err error) {
	err = a.find(scope, "kSecClassIdentity", func(item Ref) { all = append(all, a.newIdentity(item)) })
	return all, err
}

// Certificates implements [native.System].
func (a *API) Certificates(scope native.Scope) (all [][]byte, err error) {
	err = a.find(scope, "kSecClassCertificate", func(item Ref) {
		if cert, _, err := a.value(item, a.sec.CertificateGetTypeID()); err == nil {
			if der, err := a.der(cert); err == nil {
				all = append(all, der)
			}
		}
	})
	return all, err
}

// find calls f with each item of a class, which f borrows. An empty result is not
// an error.
func (a *API) find(scope native.Scope, class string, f func(item Ref)) error {
	query, err := a.newDictionary([][2]string{
		{"kSecClass", class},
		{"kSecMatchLimit", "kSecMatchLimitAll"},
		{"kSecReturnRef", "kCFBooleanTrue"},
		{"kSecReturnAttributes", "kCFBooleanTrue"},
		scopes[scope],
	})
	if err != nil {
		return err
	}
	defer a.cf.Release(query)
	var result Ref
	status := a.sec.ItemCopyMatching(query, &result)
	if result != 0 {
		defer a.cf.Release(result)
	}
	if status == statusItemNotFound {
		return nil
	}
	if err := a.check("SecItemCopyMatching", status); err != nil || result == 0 {
		return err
	}
	if a.cf.GetTypeID(result) != a.cf.ArrayGetTypeID() {
		f(result)
		return nil
	}
	for i := range min(a.cf.ArrayGetCount(result), maxItems) {
		f(a.cf.ArrayGetValueAtIndex(result, i))
	}
	return nil
}

// value returns the object in an item, which must have the type typeID: the item
// itself, or the value in a dictionary, which value returns as attributes. The
// item owns both.
func (a *API) value(item Ref, typeID uint) (ref, attributes Ref, err error) {
	ref = item
	if a.cf.GetTypeID(item) == a.cf.DictionaryGetTypeID() {
		attributes = item
		ref = a.cf.DictionaryGetValue(item, a.constants["kSecValueRef"])
	}
	if ref == 0 || a.cf.GetTypeID(ref) != typeID {
		return 0, 0, errors.New("item of an unexpected class")
	}
	return ref, attributes, nil
}

// newIdentity copies the attributes of an item and retains its reference, which
// the result of the query owns.
func (a *API) newIdentity(item Ref) native.Identity {
	ref, attributes, err := a.value(item, a.sec.IdentityGetTypeID())
	if err != nil {
		return native.Identity{Err: err}
	}
	var id native.Identity
	if attributes != 0 {
		id.Label = a.text(a.cf.DictionaryGetValue(attributes, a.constants["kSecAttrLabel"]))
		id.Token = a.text(a.cf.DictionaryGetValue(attributes, a.constants["kSecAttrTokenID"]))
	}
	if id.Certificate, id.Err = a.certificate(ref); id.Err == nil {
		id.Handle = identity{a, a.cf.Retain(ref)}
	}
	return id
}

// certificate returns the certificate of an identity in DER.
func (a *API) certificate(identity Ref) ([]byte, error) {
	var cert Ref
	if err := a.check("SecIdentityCopyCertificate", a.sec.IdentityCopyCertificate(identity, &cert)); err != nil {
		return nil, err
	}
	if cert == 0 {
		return nil, errors.New("identity without certificate")
	}
	defer a.cf.Release(cert)
	return a.der(cert)
}

func (a *API) der(cert Ref) ([]byte, error) {
	d := a.sec.CertificateCopyData(cert)
	if d == 0 {
		return nil, errors.New("certificate without data")
	}
	defer a.cf.Release(d)
	return a.data(d)
}
