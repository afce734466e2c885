package winstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// A privateKey is an open key of CNG or CryptoAPI.
type privateKey struct {
	handle keyHandle
	spec   uint32 // specNCrypt, or the key specification of a CryptoAPI key
	owned  bool   // free frees the handle; false: the certificate context does
}

func (p privateKey) isCNG() bool { return p.spec == specNCrypt }

func (p privateKey) free(sys system) error {
	switch {
	case !p.owned:
		return nil
	case p.isCNG():
		return sys.freeObject(p.handle)
	}
	return sys.releaseContext(p.handle)
}

// acquire opens the private key of a certificate. Windows may cache the handle in
// the certificate context, so the context must be freed after the key. Without
// the cache, a key that is attached to the context in memory cannot be opened.
func acquire(sys system, c certHandle, silentFlag uint32) (privateKey, error) {
	flags := uint32(acquireCache | acquirePreferNCrypt)
	if silentFlag != 0 {
		flags |= acquireSilent
	}
	h, spec, mustFree, err := sys.acquire(c, flags)
	if errors.Is(err, cryptNoKeyProperty) {
		return acquireByInfo(sys, c, silentFlag, err)
	}
	if err != nil {
		return privateKey{}, fmt.Errorf("open the key of the certificate: %w", err)
	}
	p := privateKey{h, spec, mustFree}
	if p.isCNG() {
		return p, nil
	}
	info, err := sys.keyInfo(c)
	if err != nil || !info.canUpgrade() {
		return validate(sys, p)
	}
	upgraded, err := sys.acquireContext(info.container, aesProvider, provRSAAES, info.flags&machineKey|silentFlag)
	if err != nil {
		return validate(sys, p) // the first provider may support SHA-2
	}
	if err := p.free(sys); err != nil {
		return privateKey{}, errors.Join(err, sys.releaseContext(upgraded))
	}
	return privateKey{upgraded, spec, true}, nil
}

// validate returns p if its key specification is supported, and frees it if not.
func validate(sys system, p privateKey) (privateKey, error) {
	if err := checkSpec(p); err != nil {
		return privateKey{}, errors.Join(err, p.free(sys))
	}
	return p, nil
}

func checkSpec(p privateKey) error {
	if p.spec != specKeyExchange && p.spec != specSignature {
		return fmt.Errorf("key specification %d: %w", p.spec, errors.ErrUnsupported)
	}
	return nil
}

// acquireByInfo opens the key that the key provider information of a certificate
// names. CryptAcquireCertificatePrivateKey does not find every such key: in Wine,
// it finds neither machine keys nor CNG keys.
func acquireByInfo(sys system, c certHandle, silentFlag uint32, cause error) (privateKey, error) {
	info, err := sys.keyInfo(c)
	if err != nil {
		return privateKey{}, fmt.Errorf("open the key of the certificate: %w", errors.Join(cause, err))
	}
	if info.provType == 0 {
		h, err := openNamed(sys, info.provider, info.container, info.keySpec, info.flags&machineKey|silentFlag)
		if err != nil {
			return privateKey{}, err
		}
		return privateKey{h, specNCrypt, true}, nil
	}
	p := privateKey{spec: info.keySpec, owned: true}
	if err := checkSpec(p); err != nil {
		return privateKey{}, err
	}
	provider, provType := info.provider, info.provType
	if info.canUpgrade() {
		provider, provType = aesProvider, provRSAAES
	}
	if p.handle, err = sys.acquireContext(info.container, provider, provType, info.flags&machineKey|silentFlag); err != nil {
		return privateKey{}, fmt.Errorf("open key container %q: %w", info.container, err)
	}
	return p, nil
}

// openNamed opens a CNG key by name.
func openNamed(sys system, provider, name string, keySpec, flags uint32) (keyHandle, error) {
	prov, err := openProvider(sys, provider)
	if err != nil {
		return 0, err
	}
	h, err := sys.openKey(prov, name, keySpec, flags)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("open key %q in %s: %w", name, provider, err), sys.freeObject(prov))
	}
	if err := sys.freeObject(prov); err != nil { // the key does not need it
		return 0, errors.Join(err, sys.freeObject(h))
	}
	return h, nil
}

func openProvider(sys system, name string) (keyHandle, error) {
	prov, err := sys.openProvider(name)
	if err != nil {
		// Whatever the code, the provider is missing, not the key.
		err = fmt.Errorf("key storage provider %q: %w: %w", name, signer.ErrUnavailable, err)
		if name == tpmProvider {
			err = signer.WithHint(err, "this machine has no TPM that is ready; use provider=software for a key in software")
		}
		return 0, err
	}
	return prov, nil
}

const aesProvider = "Microsoft Enhanced RSA and AES Cryptographic Provider"

// oldProviders are the Microsoft providers without SHA-2. The AES provider
// supports SHA-2 and uses the same key containers. Other providers of the same
// types, such as smart card providers, have key containers of their own.
var oldProviders = []string{
	"",
	"Microsoft Base Cryptographic Provider v1.0",
	"Microsoft Enhanced Cryptographic Provider v1.0",
	"Microsoft Strong Cryptographic Provider",
	"Microsoft RSA SChannel Cryptographic Provider",
	"Microsoft RSA Signature Cryptographic Provider",
}

func (i keyInfo) canUpgrade() bool {
	return (i.provType == provRSAFull || i.provType == provRSASchannel) && slices.Contains(oldProviders, i.provider)
}
