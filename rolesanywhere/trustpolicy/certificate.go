package trustpolicy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// MaxIdentity is the maximum length of role session names and source identities
// in STS, in characters.
const MaxIdentity = 64

// The parts of a certificate that become session tags.
const (
	Subject = "x509Subject"
	Issuer  = "x509Issuer"
	SAN     = "x509SAN"

	namePrefix = "Name/" // of the attributes of the directory name
)

// attributeNames holds the last parts of tag names. The user guide lists the
// first six and says that every recognizable attribute is mapped. The other
// names are from RFC 4519, in upper case.
var attributeNames = lookup.Table[string, string]{
	{"2.5.4.3", "CN"},
	{"2.5.4.6", "C"},
	{"2.5.4.10", "O"},
	{"2.5.4.11", "OU"},
	{"2.5.4.7", "L"},
	{"2.5.4.8", "ST"},
	{"2.5.4.9", "STREET"},
	{"2.5.4.4", "SN"},
	{"2.5.4.5", "SERIALNUMBER"},
	{"2.5.4.12", "TITLE"},
	{"2.5.4.42", "GIVENNAME"},
	{"2.5.4.43", "INITIALS"},
	{"0.9.2342.19200300.100.1.1", "UID"},
	{"0.9.2342.19200300.100.1.25", "DC"},
	{"1.2.840.113549.1.9.1", "EMAILADDRESS"},
}

// knownTag reports whether name can be the key of a tag. If it begins like that
// of a tag of a certificate, a certificate must be able to have this tag.
func knownTag(name string) bool {
	field, rest, _ := strings.Cut(name, "/")
	if !strings.HasPrefix(FoldKey(field), "x509") {
		return IsTagKey(name)
	}
	if sameKey(field, SAN) {
		if sameKey(rest, "DNS") || sameKey(rest, "URI") {
			return true
		}
		dir, attribute, _ := strings.Cut(rest, "/")
		return sameKey(dir, "Name") && knownAttribute(attribute)
	}
	return (sameKey(field, Subject) || sameKey(field, Issuer)) && knownAttribute(rest)
}

func knownAttribute(name string) bool {
	for _, known := range attributeNames {
		if sameKey(known.Value, name) {
			return true
		}
	}
	return false
}

// IsTagValue checks the syntax of Tag.Value in the STS API reference.
func IsTagValue(s string) bool { return isTag(s, 256) }

// IsTagKey checks the syntax of Tag.Key in the STS API reference.
func IsTagKey(s string) bool { return s != "" && isTag(s, 128) }

func isTag(s string, length int) bool {
	return utf8.RuneCountInString(s) <= length && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r)
	})
}

// Unmapped holds, for [Subject], [Issuer] and [SAN], the names of the attributes
// that STS would refuse as tags.
type Unmapped map[string][]string

// A Mapping holds, for [Subject], [Issuer] and [SAN], the specifiers of the attributes
// that become session tags: the last part of the name of the tag, such as CN, DNS or
// Name/CN, or * or Name/* for every known attribute.
type Mapping map[string][]string

// DefaultMapping returns the attribute mapping of a new profile.
//
// Source: IAM Roles Anywhere User Guide, "Certificate attribute mapping".
func DefaultMapping() Mapping {
	return Mapping{Subject: {"*"}, Issuer: {"*"}, SAN: {"DNS", "URI", namePrefix + "*"}}
}

// maps reports whether the attribute of a field with a name is mapped.
func (m Mapping) maps(field, name string) bool {
	dir, _, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(m[field], func(s string) bool {
		return s == name || s == "*" && field != SAN || s == dir+"/*"
	})
}

// IsSpecifier reports whether a specifier of a field can map an attribute. The user
// guide gives no list of specifiers. This one follows from the tags of the default
// mapping, with the same case.
func IsSpecifier(field, specifier string) bool {
	name := specifier
	switch field {
	case Subject, Issuer:
	case SAN:
		if specifier == "DNS" || specifier == "URI" {
			return true
		}
		var ok bool
		if name, ok = strings.CutPrefix(specifier, namePrefix); !ok {
			return false
		}
	default:
		return false
	}
	if name == "*" {
		return true
	}
	for _, known := range attributeNames {
		if known.Value == name {
			return true
		}
	}
	return false
}

// SessionTags maps a certificate to session tags with the default mapping. bad holds the
// attributes that cannot be mapped.
func SessionTags(cert *x509.Certificate) (tags map[string]string, bad Unmapped) {
	return DefaultMapping().SessionTags(cert)
}

// SessionTags maps the attributes of subject and issuer, and the first DNS name, URI and
// directory name of the subject alternative names, to session tags. bad holds the
// attributes that should be mapped and cannot be.
func (m Mapping) SessionTags(cert *x509.Certificate) (tags map[string]string, bad Unmapped) {
	tags, bad = make(map[string]string), make(Unmapped)
	set := func(field, name, value, shown string) {
		switch {
		case !m.maps(field, name):
		case !IsTagValue(value):
			bad[field] = append(bad[field], shown)
		default:
			tags[field+"/"+name] = value
		}
	}
	setAll := func(field, prefix string, names []pkix.AttributeTypeAndValue) {
		for _, a := range joinAttributes(names) {
			set(field, prefix+a.name, a.value, prefix+a.name)
		}
	}
	setAll(Subject, "", cert.Subject.Names)
	setAll(Issuer, "", cert.Issuer.Names)

	san := firstNames(cert)
	// The numbers are the tags of GeneralName (RFC 5280, section 4.2.1.6),
	// as in the only known message of the service.
	if v, ok := san[tagDNSName]; ok {
		set(SAN, "DNS", string(v), "DNS/2")
	}
	if v, ok := san[tagURI]; ok {
		set(SAN, "URI", string(v), "URI/6")
	}
	if v, ok := san[tagDirectoryName]; ok && m.mapsDirectoryName() {
		var rdns pkix.RDNSequence
		if rest, err := asn1.Unmarshal(v, &rdns); err != nil || len(rest) > 0 {
			bad[SAN] = append(bad[SAN], "Name/4")
		} else {
			var name pkix.Name
			name.FillFromRDNSequence(&rdns)
			setAll(SAN, namePrefix, name.Names)
		}
	}
	return tags, bad
}

// mapsDirectoryName reports whether any attribute of the directory name is mapped.
func (m Mapping) mapsDirectoryName() bool {
	return slices.ContainsFunc(m[SAN], func(s string) bool { return strings.HasPrefix(s, namePrefix) })
}

type attribute struct{ name, value string }

// joinAttributes joins the values of each attribute with slashes, in the order
// of the certificate.
func joinAttributes(names []pkix.AttributeTypeAndValue) []attribute {
	var all []attribute
	for _, n := range names {
		name, known := attributeNames.Find(n.Type.String())
		value, isString := n.Value.(string)
		if !known || !isString {
			continue
		}
		i := slices.IndexFunc(all, func(a attribute) bool { return a.name == name })
		if i < 0 {
			all = append(all, attribute{name, value})
		} else {
			all[i].value += "/" + value
		}
	}
	return all
}

// The tags of the GeneralName choices that become session tags.
const (
	tagDNSName       = 2
	tagDirectoryName = 4
	tagURI           = 6
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// firstNames returns the contents of the first subject alternative name of each
// tag.
func firstNames(cert *x509.Certificate) map[int][]byte {
	first := make(map[int][]byte)
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var seq asn1.RawValue
		if _, err := asn1.Unmarshal(ext.Value, &seq); err != nil {
			continue
		}
		for rest := seq.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				break
			}
			if _, found := first[name.Tag]; !found && name.Class == asn1.ClassContextSpecific {
				first[name.Tag] = name.Bytes
			}
		}
	}
	return first
}

// SourceIdentity returns the source identity according to the user guide.
// Multiple common names are joined as in the tag.
func SourceIdentity(cert *x509.Certificate) string {
	for _, a := range joinAttributes(cert.Subject.Names) {
		if a.name != "CN" || a.value == "" {
			continue
		}
		if len([]rune(a.value)) <= MaxIdentity-len("CN=") {
			return "CN=" + a.value
		}
		return a.value
	}
	return "ID=" + SerialNumber(cert)
}

// SerialNumber returns the serial number of a certificate with an even number of
// hexadecimal digits. It is the default name of a session.
func SerialNumber(cert *x509.Certificate) string {
	if cert.SerialNumber.Sign() == 0 {
		return "00"
	}
	return hex.EncodeToString(cert.SerialNumber.Bytes())
}
