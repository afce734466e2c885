package pkcs11

import "github.com/holdfast-dev/holdfast/keystore"

// SharePIN implements [keystore.PINSharer]. Both references must have the same
// attributes of the token, its slot and its module.
func (Backend) SharePIN(key, certificate keystore.Ref) keystore.Ref {
	k, err := parseURI(key.Rest)
	if err != nil || k.hasPIN() {
		return key
	}
	c, err := parseURI(certificate.Rest)
	if err != nil || !c.hasPIN() || c.device() != k.device() {
		return key
	}
	name, value := "pin-value", c.PINValue
	if value == "" {
		name, value = "pin-source", c.PINSource
	}
	key.Rest = addToQuery(key.Rest, name, value, name)
	return key
}

func (u URI) hasPIN() bool { return u.PINValue != "" || u.PINSource != "" }

// device returns u without the attributes of the object, the PIN and the process.
func (u URI) device() URI {
	u.Object, u.ID, u.Type = "", "", ""
	u.PINSource, u.PINValue, u.Isolation = "", "", ""
	return u
}
