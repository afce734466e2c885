package file

import (
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// addBags reads a SafeContents, which can contain other SafeContents (RFC 7292,
// section 4.2). It passes over CRLs, secrets and bags of other types.
//
//	SafeBag ::= SEQUENCE { bagId OBJECT IDENTIFIER, bagValue [0] EXPLICIT ANY, bagAttributes SET OPTIONAL }
func (p *pfx) addBags(data []byte, depth int) error {
	der, _, err := toDER(data)
	in := cryptobyte.String(der)
	if err != nil || depth > maxDepth || !in.ReadASN1(&in, cbasn1.SEQUENCE) {
		return errPFXDamaged
	}
	for !in.Empty() {
		var bag, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !in.ReadASN1(&bag, cbasn1.SEQUENCE) || !bag.ReadASN1ObjectIdentifier(&oid) ||
			!bag.ReadASN1(&value, cbasn1.Tag(0).Constructed().ContextSpecific()) {
			return errPFXDamaged
		}
		switch {
		case oid.Equal(oidSafeContents):
			err = p.addBags(value, depth+1)
		case oid.Equal(oidCertBag):
			err = p.addCertBag(value)
		case oid.Equal(oidKeyBag):
			err = p.addKey(pfxKey{name: nameOfBag(bag), der: value})
		case oid.Equal(oidShroudedKey):
			err = p.addShroudedKey(nameOfBag(bag), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pfx) addKey(k pfxKey) error {
	if len(p.keys) == maxKeys {
		return fmt.Errorf("PKCS #12 contains more than %d private keys", maxKeys)
	}
	p.keys = append(p.keys, k)
	return nil
}

// bareKeys returns the keys that are not encrypted.
func (p *pfx) bareKeys() (keys []keyPart) {
	for _, k := range p.keys {
		if k.der != nil {
			keys = append(keys, keyPart{k.der, k.name, nil, true})
		}
	}
	return keys
}

// decryptKeys returns an error if there are keys, and it can decrypt none of them.
// If all is true, the password must be the one of all keys.
func (p *pfx) decryptKeys(ctx context.Context, all bool, decrypt func(ciphertext) ([]byte, error)) (err error) {
	opened := 0
	for i := range p.keys {
		k := &p.keys[i]
		if k.encrypted != nil {
			if k.der, k.err = decrypt(k.encrypted); k.err != nil {
				k.der = nil
			}
			k.encrypted = nil
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case k.err == nil:
			opened++
		case err == nil || errors.Is(k.err, errPasswordIncorrect): // another password may open it
			err = k.err
		}
	}
	if opened > 0 && !(all && errors.Is(err, errPasswordIncorrect)) {
		return nil
	}
	return err
}

// addShroudedKey adds an EncryptedPrivateKeyInfo.
func (p *pfx) addShroudedKey(name string, value cryptobyte.String) error {
	var info, algorithm, data cryptobyte.String
	if !value.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!info.ReadASN1(&data, cbasn1.OCTET_STRING) {
		return errPFXDamaged
	}
	c, err := p.newCiphertext(algorithm, data)
	switch {
	case errors.Is(err, errors.ErrUnsupported): // other keys may be encrypted otherwise
		return p.addKey(pfxKey{name: name, err: fmt.Errorf("private key: %w", err)})
	case err != nil:
		return fmt.Errorf("private key: %w", err)
	}
	return p.addKey(pfxKey{name: name, encrypted: c})
}

// addCertBag adds a certificate, but not one of another type than X.509.
//
//	CertBag ::= SEQUENCE { certId OBJECT IDENTIFIER, certValue [0] EXPLICIT ANY }
func (p *pfx) addCertBag(value cryptobyte.String) error {
	var seq, wrapped, cert cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !value.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1ObjectIdentifier(&oid) ||
		!seq.ReadASN1(&wrapped, cbasn1.Tag(0).Constructed().ContextSpecific()) {
		return errPFXDamaged
	}
	if !oid.Equal(oidX509) {
		return nil
	}
	if !wrapped.ReadASN1(&cert, cbasn1.OCTET_STRING) {
		return errPFXDamaged
	}
	p.certs = append(p.certs, cert)
	return nil
}

// nameOfBag returns the friendly name in the attributes of a bag, or "".
//
//	PKCS12Attribute ::= SEQUENCE { attrId OBJECT IDENTIFIER, attrValues SET OF ANY }
func nameOfBag(bag cryptobyte.String) string {
	var set cryptobyte.String
	if !bag.ReadASN1(&set, cbasn1.SET) {
		return ""
	}
	for !set.Empty() {
		var attribute, values, name cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) ||
			!attribute.ReadASN1(&values, cbasn1.SET) {
			return ""
		}
		const bmpString = cbasn1.Tag(30)
		if oid.Equal(oidFriendlyName) && values.ReadASN1(&name, bmpString) {
			return friendlyName(name)
		}
	}
	return ""
}

// friendlyName decodes a BMPString, in UTF-16.
func friendlyName(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		units = append(units, uint16(b[0])<<8|uint16(b[1]))
	}
	return string(utf16.Decode(units[:min(len(units), 64)]))
}
