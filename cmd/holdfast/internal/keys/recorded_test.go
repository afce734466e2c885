package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

const recorded = "testdata/aws_signing_helper"

func readRecorded(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(recorded, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func recordedCertificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(readRecorded(t, name+".pem"))
	if block == nil {
		t.Fatalf("%s has no PEM block", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var recordedKeys = []string{"rsa", "ec", "ec384"}

// Signatures of aws_signing_helper are signatures of the text that sign-string
// signs, and they are printed in the same form.
func TestSignStringMatchesRecordedOutput(t *testing.T) {
	for _, name := range recordedKeys {
		c := recordedCertificate(t, name)
		text, err := fixedText(c.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		for _, digest := range digests {
			output := readRecorded(t, name+"."+digest+".json")
			var digits string
			if err := json.Unmarshal(output, &digits); err != nil {
				t.Fatal(err)
			}
			signature, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			hash := digestHash.Get(digest)
			h := hash.New()
			h.Write(text)
			valid := false
			switch pub := c.PublicKey.(type) {
			case *rsa.PublicKey:
				valid = rsa.VerifyPKCS1v15(pub, hash, h.Sum(nil), signature) == nil
			case *ecdsa.PublicKey:
				valid = ecdsa.VerifyASN1(pub, h.Sum(nil), signature)
			}
			if !valid {
				t.Errorf("%s, %s: the recorded signature is not for the same text", name, digest)
			}
			for format, want := range map[string][]byte{"json": output, "text": []byte(digits), "bin": signature} {
				if got := encodeSignature(signature, format); !bytes.Equal(got, want) {
					t.Errorf("%s, %s, %s: %q, want %q", name, digest, format, got, want)
				}
			}
		}
	}
}

func TestReadCertificateDataMatchesRecordedOutput(t *testing.T) {
	for _, name := range recordedKeys {
		var stdout bytes.Buffer
		a := front.App{Stdout: &stdout, Store: all.New()}
		ref := keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(recorded, name+".pem")}
		if err := readCertificateData(t.Context(), a, ref, true, keystore.Options{}); err != nil {
			t.Fatal(err)
		}
		if want := readRecorded(t, name+".json"); !bytes.Equal(stdout.Bytes(), want) {
			t.Errorf("%s: %s, want %s", name, &stdout, want)
		}
	}

	var list strings.Builder
	list.WriteString("Matching identities\n")
	for i, name := range []string{"ec", "rsa"} {
		writeMatching(&list, i+1, keystore.Entry{Certificate: recordedCertificate(t, name)}, false)
	}
	if want := string(readRecorded(t, "list.txt")); list.String() != want {
		t.Errorf("list:\n%s\nwant\n%s", &list, want)
	}
}
