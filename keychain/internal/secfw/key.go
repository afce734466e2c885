//go:build darwin || (linux && (amd64 || arm64))

package secfw

import (
	"errors"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
)

const operationSign = 0 // kSecKeyOperationTypeSign

// An identity implements [native.Handle].
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
	if ref == 0 { // SecKey functions raise an exception for NULL
		return nil, errors.New("identity without private key")
	}
	return key{i.api, ref}, nil
}

// A key implements [native.Key].
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

// Sign tests the result and not the CFError. On success, macOS does not have to
// clear the CFError.
func (k key) Sign(algorithm string, digest []byte) ([]byte, error) {
	a := k.api
	ref, ok := a.constants[algorithm]
	if !ok { // SecKeyCreateSignature raises an exception for NULL
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
