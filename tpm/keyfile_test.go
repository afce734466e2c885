package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// tlv returns a DER element with the length in the shortest form.
func tlv(tag byte, parts ...[]byte) []byte {
	value := bytes.Join(parts, nil)
	switch n := len(value); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, value...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, value...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, value...)
	}
}

func oid(t testing.TB, id asn1.ObjectIdentifier) []byte {
	t.Helper()
	der, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Parts of a TPMKey.
var (
	ownerParent = []byte{2, 4, 0x40, 0, 0, 1}
	publicPart  = tlv(4, []byte("public"))
	privatePart = tlv(4, []byte("private"))
	isTrue      = []byte{1, 1, 0xff}
)

// field returns an optional field.
func field(n byte, parts ...[]byte) []byte { return tlv(0xa0|n, parts...) }

// stepOf returns a TPMPolicy.
func stepOf(command uint32, parameters []byte) []byte {
	code := binary.BigEndian.AppendUint32([]byte{0}, command)
	for len(code) > 1 && code[0] == 0 && code[1] < 0x80 {
		code = code[1:]
	}
	return tlv(0x30, field(0, tlv(2, code)), field(1, tlv(4, parameters)))
}

// keyOf returns a loadable key with optional fields.
func keyOf(t testing.TB, optional ...[]byte) []byte {
	return tlv(0x30, oid(t, oidLoadable), bytes.Join(optional, nil), ownerParent, publicPart, privatePart)
}

func TestParseKey(t *testing.T) {
	loadable := oid(t, oidLoadable)
	key := func(change func(*keyFile)) *keyFile {
		f := &keyFile{kind: oidLoadable, parent: OwnerHierarchy, public: []byte("public"), private: []byte("private")}
		if change != nil {
			change(f)
		}
		return f
	}
	emptyAuth := key(func(f *keyFile) { f.emptyAuth = true })
	var steps []byte
	for range maxPolicySteps {
		steps = append(steps, stepOf(0x16b, nil)...)
	}
	authValue := policyStep{tpm2.TPMCCPolicyAuthValue, []byte{}}
	for _, c := range []struct {
		name string
		der  []byte
		want *keyFile // nil: refused
	}{
		{"no optional field", keyOf(t), key(nil)},
		{"BOOLEAN 0xff", keyOf(t, field(0, isTrue)), emptyAuth},
		{"BOOLEAN 0x01, as OpenSSL's provider writes it", keyOf(t, field(0, []byte{1, 1, 1})), emptyAuth},
		{"BOOLEAN 0x80", keyOf(t, field(0, []byte{1, 1, 0x80})), emptyAuth},
		{"BOOLEAN 0x00", keyOf(t, field(0, []byte{1, 1, 0})), key(nil)},
		{"empty BOOLEAN", keyOf(t, field(0, []byte{1, 0})), nil},
		{"BOOLEAN of two bytes", keyOf(t, field(0, []byte{1, 2, 0xff, 0xff})), nil},
		{"emptyAuth is a number", keyOf(t, field(0, []byte{2, 1, 1})), nil},
		{"emptyAuth is empty", keyOf(t, field(0)), nil},
		{"emptyAuth with trailing data", keyOf(t, field(0, isTrue, isTrue)), nil},
		{"emptyAuth twice", keyOf(t, field(0, isTrue), field(0, []byte{1, 1, 0})), nil},

		{"one policy step", keyOf(t, field(1, tlv(0x30, stepOf(0x16b, nil)))), key(func(f *keyFile) { f.policy = []policyStep{authValue} })},
		{"two policy steps", keyOf(t, field(1, tlv(0x30, stepOf(0x17f, []byte("pcrs")), stepOf(0x16b, nil)))),
			key(func(f *keyFile) { f.policy = []policyStep{{tpm2.TPMCCPolicyPCR, []byte("pcrs")}, authValue} })},
		{"policy without steps", keyOf(t, field(1, tlv(0x30))), key(nil)},
		{"maximum number of policy steps", keyOf(t, field(1, tlv(0x30, steps))), key(func(f *keyFile) {
			for range maxPolicySteps {
				f.policy = append(f.policy, authValue)
			}
		})},
		{"too many policy steps", keyOf(t, field(1, tlv(0x30, steps, stepOf(0x16b, nil)))), nil},
		{"policy without SEQUENCE", keyOf(t, field(1, stepOf(0x16b, nil)[2:])), nil},
		{"policy with trailing data", keyOf(t, field(1, tlv(0x30, stepOf(0x16b, nil)), isTrue)), nil},
		{"policy step without parameters", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(0, tlv(2, []byte{1})))))), nil},
		{"policy step without command", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(1, tlv(4)))))), nil},
		{"policy step with trailing data", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(0, tlv(2, []byte{1})), field(1, tlv(4)), isTrue)))), nil},
		{"policy command with trailing data", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(0, tlv(2, []byte{1}), isTrue), field(1, tlv(4)))))), nil},
		{"policy parameters with trailing data", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(0, tlv(2, []byte{1})), field(1, tlv(4), isTrue))))), nil},
		{"policy command of 33 bits", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(0, tlv(2, []byte{1, 0, 0, 1, 0x6b})), field(1, tlv(4)))))), nil},
		{"negative policy command", keyOf(t, field(1, tlv(0x30, tlv(0x30, field(0, tlv(2, []byte{0xff})), field(1, tlv(4)))))), nil},

		{"secret", keyOf(t, field(2, tlv(4, []byte("secret")))), key(func(f *keyFile) { f.secret = []byte("secret") })},
		{"secret with trailing data", keyOf(t, field(2, tlv(4, []byte("secret")), isTrue)), nil},
		{"RSA parent with trailing data", keyOf(t, field(5, isTrue, isTrue)), nil},
		{"secret is not an OCTET STRING", keyOf(t, field(2, isTrue)), nil},
		{"signed policy", keyOf(t, field(3, tlv(0x30))), key(func(f *keyFile) { f.signed = true })},
		{"description, which is ignored", keyOf(t, field(4, tlv(0x0c, []byte("a key")))), key(nil)},
		{"RSA parent", keyOf(t, field(5, isTrue)), key(func(f *keyFile) { f.rsaParent = true })},
		{"RSA parent, 0x01", keyOf(t, field(5, []byte{1, 1, 1})), key(func(f *keyFile) { f.rsaParent = true })},
		{"unknown field [6]", keyOf(t, field(0, isTrue), field(6, []byte("junk"))), emptyAuth},
		{"unknown field [30]", keyOf(t, field(30), field(0, isTrue)), emptyAuth},
		{"fields in another order", keyOf(t, field(5, isTrue), field(0, isTrue)), key(func(f *keyFile) { f.emptyAuth, f.rsaParent = true, true })},
		{"field [31], with a tag in long form", keyOf(t, []byte{0xbf, 0x1f, 0}), nil},
		{"truncated field", keyOf(t, []byte{0xa0, 0x7f}), nil},

		{"implicit emptyAuth", keyOf(t, tlv(0x80, []byte{0xff})), emptyAuth},
		{"implicit emptyAuth that is false", keyOf(t, tlv(0x80, []byte{0})), key(nil)},
		{"implicit emptyAuth of two bytes", keyOf(t, tlv(0x80, []byte{1, 1})), nil},
		{"implicit policy", keyOf(t, field(1, stepOf(0x17f, []byte("pcrs")), stepOf(0x16b, nil))),
			key(func(f *keyFile) { f.policy = []policyStep{{tpm2.TPMCCPolicyPCR, []byte("pcrs")}, authValue} })},
		{"primitive policy", keyOf(t, tlv(0x81, []byte("junk"))), nil},
		{"implicit secret", keyOf(t, tlv(0x82, []byte("secret"))), key(func(f *keyFile) { f.secret = []byte("secret") })},
		{"implicit description", keyOf(t, tlv(0x84, []byte("a key"))), key(nil)},
		{"implicit RSA parent", keyOf(t, tlv(0x85, []byte{1})), key(func(f *keyFile) { f.rsaParent = true })},
		{"a field implicit and explicit", keyOf(t, tlv(0x80, []byte{0xff}), field(0, isTrue)), nil},

		{"importable", tlv(0x30, oid(t, oidImportable), ownerParent, publicPart, privatePart), key(func(f *keyFile) { f.kind = oidImportable })},
		{"sealed", tlv(0x30, oid(t, oidSealed), ownerParent, publicPart, privatePart), key(func(f *keyFile) { f.kind = oidSealed })},
		{"persistent parent", tlv(0x30, loadable, []byte{2, 5, 0, 0x81, 0, 0, 1}, publicPart, privatePart), key(func(f *keyFile) { f.parent = 0x81000001 })},
		{"parent 0xffffffff", tlv(0x30, loadable, []byte{2, 5, 0, 0xff, 0xff, 0xff, 0xff}, publicPart, privatePart), key(func(f *keyFile) { f.parent = 0xffffffff })},
		{"parent of 33 bits", tlv(0x30, loadable, []byte{2, 5, 1, 0x40, 0, 0, 1}, publicPart, privatePart), nil},
		{"persistent parent as a negative number", tlv(0x30, loadable, []byte{2, 4, 0x81, 0, 0, 1}, publicPart, privatePart), key(func(f *keyFile) { f.parent = 0x81000001 })},
		{"parent 0xffffffff as a negative number", tlv(0x30, loadable, []byte{2, 1, 0xff}, publicPart, privatePart), key(func(f *keyFile) { f.parent = 0xffffffff })},
		{"persistent parent, its sign extended to 64 bits", tlv(0x30, loadable, []byte{2, 9, 0, 0xff, 0xff, 0xff, 0xff, 0x81, 0, 0, 1}, publicPart, privatePart), key(func(f *keyFile) { f.parent = 0x81000001 })},
		{"owner with a sign extended to 64 bits", tlv(0x30, loadable, []byte{2, 9, 0, 0xff, 0xff, 0xff, 0xff, 0x40, 0, 0, 1}, publicPart, privatePart), nil},
		{"negative parent of 33 bits", tlv(0x30, loadable, []byte{2, 5, 0xff, 0x40, 0, 0, 1}, publicPart, privatePart), nil},
		{"parent of 65 bits", tlv(0x30, loadable, []byte{2, 9, 1, 0, 0, 0, 0, 0x81, 0, 0, 1}, publicPart, privatePart), nil},
		{"parent 0, which means the owner", tlv(0x30, loadable, []byte{2, 1, 0}, publicPart, privatePart), key(nil)},
		{"empty parent", tlv(0x30, loadable, []byte{2, 0}, publicPart, privatePart), nil},
		{"parent with leading zeros", tlv(0x30, loadable, []byte{2, 5, 0, 0x40, 0, 0, 1}, publicPart, privatePart), nil},
		{"no parent", tlv(0x30, loadable, publicPart, privatePart), nil},
		{"no private part", tlv(0x30, loadable, ownerParent, publicPart), nil},
		{"no public part", tlv(0x30, loadable, ownerParent), nil},
		{"no type", tlv(0x30, ownerParent, publicPart, privatePart), nil},
		{"type last", tlv(0x30, ownerParent, publicPart, privatePart, loadable), nil},
		{"parent last", tlv(0x30, loadable, publicPart, privatePart, ownerParent), nil},
		{"optional field last", tlv(0x30, loadable, ownerParent, publicPart, privatePart, field(0, isTrue)), nil},
		{"three parts", tlv(0x30, loadable, ownerParent, publicPart, privatePart, privatePart), nil},
		{"BIT STRING as the public part", tlv(0x30, loadable, ownerParent, tlv(3, []byte{0, 1}), privatePart), nil},

		{"nothing", nil, nil},
		{"empty SEQUENCE", []byte{0x30, 0}, nil},
		{"SET", append([]byte{0x31}, keyOf(t)[1:]...), nil},
		{"trailing byte", append(keyOf(t), 0), nil},
		{"trailing byte inside", tlv(0x30, keyOf(t)[2:], []byte{0}), nil},
		{"twice", append(keyOf(t), keyOf(t)...), nil},
		{"truncated", keyOf(t)[:len(keyOf(t))-1], nil},
		{"indefinite length", append(append([]byte{0x30, 0x80}, keyOf(t)[2:]...), 0, 0), nil},
		{"length not in the shortest form", append([]byte{0x30, 0x81, byte(len(keyOf(t)) - 2)}, keyOf(t)[2:]...), nil},
		{"length of 2 GiB", append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, keyOf(t)[2:]...), nil},
		{"length of 4 GiB", append([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, keyOf(t)[2:]...), nil},
		{"length of 8 bytes", append([]byte{0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, keyOf(t)[2:]...), nil},
		{"length of 2 GiB inside", tlv(0x30, loadable, ownerParent, []byte{4, 0x84, 0x7f, 0xff, 0xff, 0xff, 1}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseKey(c.der)
			if !reflect.DeepEqual(got, c.want) || (err == nil) != (c.want != nil) {
				t.Fatalf("got %+v, error %v, want %+v", got, err, c.want)
			}
			if err != nil && !errors.Is(err, errMalformed) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestParseKeyPEM(t *testing.T) {
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	key := block(pemType, keyOf(t))
	cert := block("CERTIFICATE", []byte("anything"))
	for name, c := range map[string]struct {
		pem string
		ok  bool
	}{
		"key":                     {key, true},
		"text around":             {"a\n" + key + "b\n", true},
		"Windows line ends":       {strings.ReplaceAll(key, "\n", "\r\n"), true},
		"byte order mark":         {"\ufeff" + key, true},
		"certificate behind":      {key + cert, true},
		"certificate before":      {cert + key, true},
		"another key beside":      {key + block("PRIVATE KEY", nil), false},
		"unknown block beside":    {block("EC PARAMETERS", nil) + key, true},
		"certificate cut":         {key + cert[:40], false},
		"nothing":                 {"", false},
		"certificate alone":       {cert, false},
		"two keys":                {key + key, false},
		"two keys and one is bad": {key + block(pemType, nil), false},
		"first line alone":        {key[:31], false},
		"last line missing":       {key[:strings.LastIndex(key, "-----END")], false},
		"not base64":              {strings.Replace(key, "\nM", "\n!", 1), false},
		"DER of nothing":          {block(pemType, nil), false},
		"old name of the type":    {block("TSS2 KEY BLOB", keyOf(t)), false},
	} {
		f, err := parseKeyPEM([]byte(c.pem))
		if (err == nil) != c.ok || (f != nil) != c.ok {
			t.Errorf("%s: got %+v, error %v", name, f, err)
		}
	}
}

// parseKeyPEM parses the output of marshal to the same keyFile.
func TestMarshalKey(t *testing.T) {
	for _, f := range []keyFile{
		{kind: oidLoadable, parent: OwnerHierarchy, public: []byte("public"), private: []byte("private")},
		{kind: oidLoadable, emptyAuth: true, parent: 0x81000001, public: []byte{}, private: bytes.Repeat([]byte{7}, 4096)},
		{kind: oidSealed, parent: 0xffffffff, public: []byte("public"), private: []byte{0}},
		{kind: oidLoadable, parent: OwnerHierarchy, public: []byte("public"), private: []byte("private"),
			policy: []policyStep{{tpm2.TPMCCPolicyPCR, []byte("pcrs")}, {tpm2.TPMCCPolicyAuthValue, []byte{}}}},
	} {
		data, err := f.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseKeyPEM(data); err != nil || !reflect.DeepEqual(*again, f) {
			t.Errorf("%+v: read as %+v, error %v", f, again, err)
		}
		// If emptyAuth is absent, the provider of OpenSSL assumes true.
		block, _ := pem.Decode(data)
		if !bytes.Contains(block.Bytes, []byte{0xa0, 3, 1, 1}) {
			t.Errorf("%+v: emptyAuth is absent: %x", f, block.Bytes)
		}
	}
}

func TestCertificatesInFile(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	leaf := ca.Issue(t, signertest.NewKey(t, "p256"), nil)
	key := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: keyOf(t)})
	bad := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("junk")})
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		data []byte
		n    int // -1: refused
	}{
		"none":             {key, 0},
		"nothing":          {nil, 0},
		"behind the key":   {join(key, signertest.CertPEM(leaf, ca.Cert)), 2},
		"before the key":   {join(signertest.CertPEM(leaf), key), 1},
		"around the key":   {join(signertest.CertPEM(leaf), key, signertest.CertPEM(ca.Cert)), 2},
		"byte order mark":  {join([]byte("\ufeff"), signertest.CertPEM(leaf), key), 1},
		"one that is junk": {join(signertest.CertPEM(leaf), key, bad), -1},
		"one that is cut":  {join(key, signertest.CertPEM(leaf)[:99]), -1},
		"none after a cut": {join(signertest.CertPEM(leaf)[:99], []byte("\n"), key), -1},
	} {
		certs, err := certificates(c.data)
		if len(certs) != max(c.n, 0) || (err != nil) != (c.n < 0) {
			t.Errorf("%s: got %d, error %v", name, len(certs), err)
		}
		if len(certs) > 0 && !certs[0].Equal(leaf) {
			t.Errorf("%s: the order changed", name)
		}
	}
}

func TestPolicyOf(t *testing.T) {
	digest := sha256.Sum256(nil)
	selection := tpm2.Marshal(tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{selectPCRs(tpm2.TPMAlgSHA256, []uint{0, 7})}})
	sized := tpm2.Marshal(tpm2.TPM2BDigest{Buffer: digest[:]})
	pcrs := policyStep{tpm2.TPMCCPolicyPCR, append(sized[:len(sized):len(sized)], selection...)}
	swapped := policyStep{tpm2.TPMCCPolicyPCR, append(selection[:len(selection):len(selection)], sized...)}
	bare := policyStep{tpm2.TPMCCPolicyPCR, append(selection[:len(selection):len(selection)], digest[:]...)}
	short := policyStep{tpm2.TPMCCPolicyPCR, bare.parameters[:len(bare.parameters)-1]}
	auth, password := policyStep{command: tpm2.TPMCCPolicyAuthValue}, policyStep{command: ccPolicyPassword}
	for name, c := range map[string]struct {
		file     keyFile
		err      error // nil: none
		password bool
	}{
		"none":                       {keyFile{}, nil, false},
		"PCRs":                       {keyFile{policy: []policyStep{pcrs}}, nil, false},
		"PCRs, selection first":      {keyFile{policy: []policyStep{swapped}}, nil, false},
		"PCRs, bare digest last":     {keyFile{policy: []policyStep{bare}}, nil, false},
		"bare digest that is cut":    {keyFile{policy: []policyStep{short}}, errMalformed, false},
		"password":                   {keyFile{policy: []policyStep{auth}}, nil, true},
		"password in clear":          {keyFile{policy: []policyStep{password}}, nil, true},
		"PCRs and password":          {keyFile{policy: []policyStep{pcrs, auth}}, nil, true},
		"signed":                     {keyFile{signed: true}, errors.ErrUnsupported, false},
		"TPM2_PolicyAuthorize":       {keyFile{policy: []policyStep{{command: tpm2.TPMCCPolicyAuthorize}}}, errors.ErrUnsupported, false},
		"TPM2_PolicyOR":              {keyFile{policy: []policyStep{auth, {command: 0x171}}}, errors.ErrUnsupported, false},
		"PCRs without parameters":    {keyFile{policy: []policyStep{{command: tpm2.TPMCCPolicyPCR}}}, errMalformed, false},
		"PCRs without a selection":   {keyFile{policy: []policyStep{{tpm2.TPMCCPolicyPCR, sized}}}, errMalformed, false},
		"PCRs with a trailing byte":  {keyFile{policy: []policyStep{{tpm2.TPMCCPolicyPCR, append(pcrs.parameters[:len(pcrs.parameters):len(pcrs.parameters)], 0)}}}, errMalformed, false},
		"PCRs with a long digest":    {keyFile{policy: []policyStep{{tpm2.TPMCCPolicyPCR, append([]byte{0, 65}, make([]byte, 65+4)...)}}}, errMalformed, false},
		"PCRs with 2^32-1 banks":     {keyFile{policy: []policyStep{{tpm2.TPMCCPolicyPCR, []byte{0, 0, 0xff, 0xff, 0xff, 0xff}}}}, errMalformed, false},
		"selection without a digest": {keyFile{policy: []policyStep{{tpm2.TPMCCPolicyPCR, selection}}}, errMalformed, false},
	} {
		p, err := policyOf(&c.file)
		if !errors.Is(err, c.err) || err == nil && p.wantsPassword() != c.password {
			t.Errorf("%s: got %v, error %v, want %v", name, p, err, c.err)
		}
		if errors.Is(err, errors.ErrUnsupported) && signer.Hint(err) == "" {
			t.Errorf("%s: no hint in %v", name, err)
		}
		if err != nil {
			continue
		}
		for _, s := range p {
			if s.command != tpm2.TPMCCPolicyPCR {
				continue
			}
			if got, err := parsePCRs(s.parameters); err != nil || !bytes.Equal(got.PcrDigest.Buffer, digest[:]) || !bytes.Equal(tpm2.Marshal(got.Pcrs), selection) {
				t.Errorf("%s: got %+v, error %v", name, got, err)
			}
		}
	}
}
