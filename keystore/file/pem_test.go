package file_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// openText opens text through an environment variable.
func openText(t *testing.T, text []byte, opts keystore.Options) (signer.Signer, error) {
	t.Helper()
	opts.LookupEnv = func(string) (string, bool) { return string(text), true }
	s, err := store.Open(t.Context(), keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "KEY"}, opts)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func TestOpenPEMVariants(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	leaf := ca.Issue(t, key, nil)
	keyPEM, certPEM := signertest.KeyPEM(t, key), signertest.CertPEM(leaf)
	crlf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
	bom := []byte("\ufeff")
	keyDER, _ := pem.Decode(keyPEM)
	pfx, err := pkcs12.Passwordless.Encode(key, leaf, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	lines := func(s string) string { return s[:76] + "\n" + s[76:] + "\n" }
	wide := func(mark string, size int, order binary.ByteOrder) []byte {
		b := []byte(mark)
		for _, c := range keyPEM {
			unit := make([]byte, 4)
			order.PutUint32(unit, uint32(c))
			if size == 2 {
				order.PutUint16(unit, uint16(c))
			}
			b = append(b, unit[:size]...)
		}
		return b
	}
	block := func(blockType string, b []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: b})
	}

	for _, test := range []struct {
		name  string
		text  []byte
		chain int
	}{
		{"unchanged", keyPEM, 0},
		{"no line end at the end", bytes.TrimSpace(keyPEM), 0},
		{"Windows line ends", crlf(keyPEM), 0},
		{"byte order mark", slices.Concat(bom, keyPEM), 0},
		{"byte order mark and Windows line ends", slices.Concat(bom, crlf(keyPEM), crlf(certPEM)), 1},
		{"byte order mark and text", slices.Concat(bom, []byte("the key\n"), keyPEM), 0},
		{"text around", slices.Concat([]byte("Bag Attributes\n  localKeyID: 01\n"), keyPEM, []byte("the end\n")), 0},
		{"blank lines", slices.Concat([]byte("\n\n"), keyPEM, []byte("\n\n"), certPEM), 1},
		{"headers", slices.Concat(bytes.Replace(keyPEM, []byte("KEY-----\n"), []byte("KEY-----\nName: value\n\n"), 1)), 0},
		{"certificate first", slices.Concat(certPEM, keyPEM), 1},
		{"certificate with the old block type", slices.Concat(block("X509 CERTIFICATE", leaf.Raw), keyPEM), 1},
		{"indented", bytes.ReplaceAll(keyPEM, []byte("\n"), []byte("\n  ")), 0},
		{"line ends written as \\n", bytes.ReplaceAll(slices.Concat(certPEM, keyPEM), []byte("\n"), []byte(`\n`)), 1},
		{"line ends written as \\r\\n", bytes.ReplaceAll(keyPEM, []byte("\n"), []byte(`\r\n`)), 0},
		{"line ends that became spaces", bytes.ReplaceAll(slices.Concat(certPEM, keyPEM), []byte("\n"), []byte(" ")), 1},
		{"lost line ends", bytes.ReplaceAll(slices.Concat(certPEM, keyPEM), []byte("\n"), nil), 1},
		{"lost line end between blocks", slices.Concat(bytes.TrimSpace(certPEM), keyPEM), 1},
		{"base64 of PEM", []byte(base64.StdEncoding.EncodeToString(slices.Concat(certPEM, keyPEM))), 1},
		{"base64 of PEM in lines", []byte(lines(base64.StdEncoding.EncodeToString(slices.Concat(certPEM, keyPEM)))), 1},
		{"base64 of DER", []byte(base64.StdEncoding.EncodeToString(keyDER.Bytes)), 0},
		{"base64 of PEM with lost line ends", []byte(base64.StdEncoding.EncodeToString(bytes.ReplaceAll(keyPEM, []byte("\n"), nil))), 0},
		{"line ends written as \\\\n", bytes.ReplaceAll(keyPEM, []byte("\n"), []byte(`\\n`)), 0},
		{"line ends written as \\u000a", bytes.ReplaceAll(slices.Concat(certPEM, keyPEM), []byte("\n"), []byte(`\u000a`)), 1},
		{"line ends written as &#10;", bytes.ReplaceAll(keyPEM, []byte("\n"), []byte("&#10;")), 0},
		{"JSON in JSON", []byte(strconv.Quote(strconv.Quote(string(keyPEM)))), 0},
		{"JSON with all escapes", []byte(strings.NewReplacer("+", `\u002B`, "/", `\/`, "\n", `\n`).Replace(string(certPEM) + string(keyPEM))), 1},
		{"percent-encoding", []byte(url.PathEscape(string(certPEM) + string(keyPEM))), 1},
		{"percent-encoding of all", []byte(strings.ReplaceAll(url.QueryEscape(string(certPEM)+string(keyPEM)), "+", "%20")), 1},
		{"form encoding", []byte(url.QueryEscape(string(certPEM) + string(keyPEM))), 1},
		{"percent-encoding of line ends", bytes.ReplaceAll(keyPEM, []byte("\n"), []byte("%0a")), 0},
		{"UTF-16, little-endian", wide("\xff\xfe", 2, binary.LittleEndian), 0},
		{"UTF-16, big-endian", wide("\xfe\xff", 2, binary.BigEndian), 0},
		{"UTF-16 without a mark", wide("", 2, binary.LittleEndian), 0},
		{"UTF-16, big-endian, without a mark", wide("", 2, binary.BigEndian), 0},
		{"UTF-32, little-endian", wide("\xff\xfe\x00\x00", 4, binary.LittleEndian), 0},
		{"UTF-32, big-endian", wide("\x00\x00\xfe\xff", 4, binary.BigEndian), 0},
		{"base64 of UTF-16", []byte(base64.StdEncoding.EncodeToString(wide("\xff\xfe", 2, binary.LittleEndian))), 0},
		{"base64 of base64", []byte(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString(keyPEM)))), 0},
		{"base64url of DER", []byte(base64.RawURLEncoding.EncodeToString(keyDER.Bytes)), 0},
		{"data URL", []byte("data:application/pkcs8;base64," + base64.StdEncoding.EncodeToString(keyDER.Bytes)), 0},
		{"line end after DER", append(bytes.Clone(keyDER.Bytes), '\n'), 0},
		{"DH parameters", slices.Concat(certPEM, keyPEM, block("DH PARAMETERS", []byte("x"))), 1},
		{"an unknown block", slices.Concat(certPEM, keyPEM, block("HOUSE KEY", []byte("x"))), 1},
		{"PKCS #7", slices.Concat(keyPEM, block("PKCS7", []byte("x"))), 0},
		{"a certificate that cannot be read", slices.Concat(certPEM, block("CERTIFICATE", []byte{0x30, 0}), keyPEM), 1},
		{"bytes after a certificate", slices.Concat(block("CERTIFICATE", append(bytes.Clone(leaf.Raw), "text"...)), keyPEM), 1},
		{"PKCS #8 as a certificate", slices.Concat(certPEM, block("CERTIFICATE", keyDER.Bytes)), 1},
		{"certificate as a key", slices.Concat(block("PRIVATE KEY", leaf.Raw), keyPEM), 1},
		{"PKCS #12 as a certificate", block("CERTIFICATE", pfx), 1},
		{"PKCS #12 as a key", block("PRIVATE KEY", pfx), 1},
		{"bytes after PKCS #12", slices.Concat(pfx, []byte("more")), 1},
		{"CRL and public key in the same file", slices.Concat(keyPEM, block("X509 CRL", []byte("x")), block("PUBLIC KEY", []byte("x")), certPEM), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := openText(t, test.text, keystore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !signer.SamePublicKey(s.Public(), key.Public()) || len(s.Chain()) != test.chain {
				t.Errorf("another key, or a chain of %d certificates, want %d", len(s.Chain()), test.chain)
			}
		})
	}
}

func TestOpenPEMRefuses(t *testing.T) {
	keyPEM := signertest.KeyPEM(t, signertest.Key(t, "p256"))
	other := signertest.KeyPEM(t, signertest.Key(t, "p384"))
	certPEM := signertest.CertPEM(signertest.NewCA(t, "root").Cert)
	block := func(blockType string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: []byte("0123456789")})
	}
	half := keyPEM[:len(keyPEM)/2]
	ca := signertest.NewCA(t, "root")
	pfx, err := pkcs12.Passwordless.Encode(signertest.Key(t, "p256"), ca.Issue(t, signertest.Key(t, "p256"), nil), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	pfxPEM := pem.EncodeToMemory(&pem.Block{Type: "PKCS12", Bytes: pfx})
	if _, err := openText(t, pfxPEM, keystore.Options{}); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		name string
		text []byte
		want error // nil: any
		hint string
	}{
		{"public key", block("PUBLIC KEY"), signer.ErrNotFound, "of which this is the public half"},
		{"OpenSSH", block("OPENSSH PRIVATE KEY"), errors.ErrUnsupported, "ssh-keygen"},
		{"trusted certificate", block("TRUSTED CERTIFICATE"), errors.ErrUnsupported, "openssl x509"},
		{"PKCS #7 with the label of OpenSSL", block("PKCS #7 SIGNED DATA"), errors.ErrUnsupported, "openssl pkcs7"},
		{"PKCS #7 as a certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x00")}), errors.ErrUnsupported, "openssl pkcs7 -in"},
		{"PKCS #7", block("PKCS7"), errors.ErrUnsupported, "openssl pkcs7"},
		{"CMS", block("CMS"), errors.ErrUnsupported, "openssl pkcs7"},
		{"request", block("CERTIFICATE REQUEST"), errors.ErrUnsupported, "request"},
		{"request with the old block type", block("NEW CERTIFICATE REQUEST"), errors.ErrUnsupported, "request"},
		{"TPM", block("TSS2 PRIVATE KEY"), errors.ErrUnsupported, "TPM"},
		{"DSA", block("DSA PRIVATE KEY"), errors.ErrUnsupported, "ECDSA"},
		{"unknown", block("HOUSE KEY"), errors.ErrUnsupported, "PEM"},
		{"no type", block(""), errors.ErrUnsupported, "PEM"},
		{"good key and a key of another format", slices.Concat(keyPEM, block("OPENSSH PRIVATE KEY")), errors.ErrUnsupported, "ssh-keygen"},

		{"empty", nil, nil, ""},
		{"whitespace", []byte(" \r\n\t"), nil, ""},
		{"byte order mark alone", []byte("\ufeff"), nil, ""},
		{"text", []byte("a key"), nil, "PEM"},
		{"base64 of text", []byte("YSBrZXkgb2YgYSBrZXk="), nil, "PEM"},
		{"base64 of a Java key store", []byte(base64.StdEncoding.EncodeToString([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02"))), errors.ErrUnsupported, "base64 -d FILE > FILE.decoded); convert it with: keytool -importkeystore -srckeystore FILE.decoded "},

		{"certificate alone", certPEM, signer.ErrNotFound, "file"},
		{"two keys", slices.Concat(keyPEM, other), signer.ErrAmbiguous, ""},
		{"the same key twice", slices.Concat(keyPEM, keyPEM), signer.ErrAmbiguous, ""},
		{"PKCS #12 and a key", slices.Concat(pfxPEM, keyPEM), nil, ""},
		{"PKCS #12 and a certificate", slices.Concat(certPEM, pfxPEM), nil, ""},
		{"PKCS #12 twice", slices.Concat(pfxPEM, pfxPEM), nil, ""},
		{"PKCS #12 with invalid content", block("PKCS12"), nil, ""},

		{"damaged block", half, nil, ""},
		{"damaged second block", slices.Concat(keyPEM, certPEM[:len(certPEM)/2]), nil, ""},
		{"damaged first block", slices.Concat(half, []byte("\n"), keyPEM), nil, ""},
		{"damaged block between", slices.Concat(certPEM, half, []byte("\n"), keyPEM), nil, ""},
		{"damaged second block, not base64", slices.Concat(keyPEM, bytes.Replace(certPEM, []byte("MII"), []byte("!!!"), 1)), nil, ""},
		{"block in a block", slices.Concat([]byte("-----BEGIN PRIVATE KEY-----\n"), keyPEM, []byte("-----END PRIVATE KEY-----\n")), nil, ""},
		{"different type in the END line", bytes.Replace(keyPEM, []byte("END PRIVATE"), []byte("END PUBLIC"), 1), nil, ""},
		{"empty key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}), nil, ""},
		{"empty certificate", slices.Concat(keyPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0}})), nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := openText(t, test.text, keystore.Options{})
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if test.hint != "" && !strings.Contains(signer.Hint(err), test.hint) {
				t.Errorf("hint %q does not contain %q", signer.Hint(err), test.hint)
			}
			if errors.Is(err, signer.ErrAmbiguous) && !strings.Contains(err.Error(), "key 2 (") {
				t.Errorf("error %q does not count the keys", err)
			}
			if strings.Contains(err.Error()+signer.Hint(err), "MIG") {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
}

// The error contains the number of the first damaged block.
func TestDamagedPEMIsCounted(t *testing.T) {
	good := string(signertest.CertPEM(signertest.NewCA(t, "root").Cert))
	bad := good[:len(good)/2] + "\n"
	for text, want := range map[string]string{
		bad: "block 1 ", bad + good: "block 1 ", good + bad: "block 2 ", good + bad + good: "block 2 ", good + good + bad + bad + good: "block 3 ",
	} {
		if _, err := openText(t, []byte(text), keystore.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
