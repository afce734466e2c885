package winstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// A privateKey is an open key of either API.
type privateKey struct {
	handle keyHandle
	spec   uint32 // specNCrypt, or that of a CryptoAPI key
	own    bool   // else it belongs to the certificate's context
}

func (p privateKey) isCNG() bool { return p.spec == specNCrypt }

func (p privateKey) free(sys system) error {
	switch {
	case !p.own:
		return nil
	case p.isCNG():
		return sys.freeObject(p.handle)
	}
	return sys.releaseContext(p.handle)
}

// acquire opens the key of a certificate. The handle is cached with the
// certificate, which must live as long as the key: keys that are attached to it
// in memory are to be had in no other way.
func acquire(sys system, c certHandle, silence uint32) (privateKey, error) {
	flags := uint32(acquireCache | acquirePreferNCrypt)
	if silence != 0 {
		flags |= acquireSilent
	}
	h, spec, mustFree, err := sys.acquire(c, flags)
	if errors.Is(err, cryptNoKeyProperty) {
		return acquireByInfo(sys, c, silence, err)
	}
	if err != nil {
		return privateKey{}, fmt.Errorf("open the certificate's key: %w", err)
	}
	p := privateKey{h, spec, mustFree}
	if p.isCNG() {
		return p, nil
	}
	info, err := sys.keyInfo(c)
	if err != nil || !info.canUpgrade() {
		return usable(sys, p)
	}
	better, err := sys.acquireContext(info.container, aesProvider, provRSAAES, info.flags&machineKey|silence)
	if err != nil {
		return usable(sys, p) // it may do without
	}
	if err := p.free(sys); err != nil {
		return privateKey{}, errors.Join(err, sys.releaseContext(better))
	}
	return privateKey{better, spec, true}, nil
}

// usable returns p, or frees it.
func usable(sys system, p privateKey) (privateKey, error) {
	if err := checkSpec(p); err != nil {
		return privateKey{}, errors.Join(err, p.free(sys))
	}
	return p, nil
}

func checkSpec(p privateKey) error {
	if p.spec != specKeyExchange && p.spec != specSignature {
		return fmt.Errorf("the certificate's key has key specification %d: %w", p.spec, errors.ErrUnsupported)
	}
	return nil
}

// acquireByInfo goes where the certificate's property says its key is. Not all
// of what can be there is found by the system itself: Wine does not look for
// keys of the machine or of CNG.
func acquireByInfo(sys system, c certHandle, silence uint32, cause error) (privateKey, error) {
	info, err := sys.keyInfo(c)
	if err != nil {
		return privateKey{}, fmt.Errorf("open the certificate's key: %w", errors.Join(cause, err))
	}
	if info.provType == 0 {
		h, err := openNamed(sys, info.provider, info.container, info.keySpec, info.flags&machineKey|silence)
		if err != nil {
			return privateKey{}, err
		}
		return privateKey{h, specNCrypt, true}, nil
	}
	p := privateKey{spec: info.keySpec, own: true}
	if err := checkSpec(p); err != nil {
		return privateKey{}, err
	}
	provider, provType := info.provider, info.provType
	if info.canUpgrade() {
		provider, provType = aesProvider, provRSAAES
	}
	if p.handle, err = sys.acquireContext(info.container, provider, provType, info.flags&machineKey|silence); err != nil {
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
		return 0, errors.Join(fmt.Errorf("open key %q of %s: %w", name, provider, err), sys.freeObject(prov))
	}
	if err := sys.freeObject(prov); err != nil { // the key keeps what it needs of it
		return 0, errors.Join(err, sys.freeObject(h))
	}
	return h, nil
}

func openProvider(sys system, name string) (keyHandle, error) {
	prov, err := sys.openProvider(name)
	if err != nil {
		// What is missing is the provider and not a key.
		err = fmt.Errorf("key storage provider %q: %w: %w", name, signer.ErrUnavailable, err)
		if name == tpmProvider {
			err = signer.WithHint(err, "this machine has no TPM that is ready; for a key in software write provider=software")
		}
		return 0, err
	}
	return prov, nil
}

const aesProvider = "Microsoft Enhanced RSA and AES Cryptographic Provider"

// oldProviders are those of Microsoft that know no SHA-2, although the key
// containers are the same as those of the AES provider, which does. Others of
// their types, such as those of smart cards, have containers of their own.
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
