//go:build darwin || (linux && (amd64 || arm64))

package secfw

import (
	"errors"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
)

const operationSign = 0 // kSecKeyOperationTypeSign

// An identity is a [native.Handle].
type identity struct {
	api *API
	ref Ref
}

func (i identity) Release() { i.api.cf.Release(i.ref) }

func (i identity) Key() (native.Key, error) {
	var ref Ref
	if err := i.api.check("SecIdentityCopyPrivateKey", i.api.sec.IdentityCopyPrivateKey(i.ref, &ref)); err != nil {
		return nil, err
	}
	if ref == 0 { // given to a function of SecKey it would raise an exception
		return nil, errors.New("identity without private key")
	}
	return key{i.api, ref}, nil
}

// A key is a [native.Key].
type key struct {
	api *API
	ref Ref
}

func (k key) Retain()  { k.api.cf.Retain(k.ref) }
func (k key) Release() { k.api.cf.Release(k.ref) }

func (k key) Supports(algorithm string) bool {
	ref, ok := k.api.constants[algorithm]
	return ok && k.api.sec.KeyIsAlgorithmSupported(k.ref, operationSign, ref) != 0
}

// Sign goes by the result: on success the CFError may be left as it was.
func (k key) Sign(algorithm string, digest []byte) ([]byte, error) {
	a := k.api
	ref, ok := a.constants[algorithm]
	if !ok { // NULL would raise an exception
		return nil, errors.ErrUnsupported
	}
	data, err := a.newData(digest)
	if err != nil {
		return nil, err
	}
	defer a.cf.Release(data)
	var failure Ref
	sig := a.sec.KeyCreateSignature(k.ref, ref, data, &failure)
	if sig == 0 {
		return nil, a.takeError("SecKeyCreateSignature", failure)
	}
	defer a.cf.Release(sig)
	if failure != 0 {
		a.cf.Release(failure)
	}
	return a.data(sig)
}
