package file

import (
	"encoding/asn1"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/signer"
)

const fipsVariable = "HOLDFAST_TEST_FIPS_FILES"

// TestFIPSMode opens files in a process in which only approved algorithms are
// allowed. The errors name the algorithm that is not.
func TestFIPSMode(t *testing.T) {
	dir := os.Getenv(fipsVariable)
	names := map[string]string{ // "": opened
		"plain": "", "modern": "", "plain PFX": "", "scrypt": "scrypt", "SHA-1": "SHA-1", "short salt": "salt of 4 bytes",
		"RC2": "MAC", "2023": "MAC", "ML-DSA seed": "ML-DSA-44", "ML-DSA expanded": "ML-DSA-44", "ML-DSA both": "ML-DSA-44",
	}
	if dir == "" {
		dir = t.TempDir()
		scrypt, short := encrypt(t, keyDER(t, "p256"), "x"), encrypt(t, keyDER(t, "p256"), "x")
		scrypt.kdf, scrypt.kdfParams = oidScrypt, seq{[]byte("salt"), 2, 1, 1}
		sha256 := asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
		short.kdfParams = seq{[]byte("salt"), 1, seq{sha256}}
		files := map[string][]byte{
			"plain": keyDER(t, "p256"), "plain PFX": plainPFX(t, bag(t, 1, keyDER(t, "p256"), "key")),
			"scrypt": scrypt.der(t), "SHA-1": encrypt(t, keyDER(t, "p256"), "x").der(t), "short salt": short.der(t),
			"RC2": encodePFX(t, pkcs12.LegacyRC2, "x"), "2023": encodePFX(t, pkcs12.Modern2023, "x"), "modern": encodePFX(t, pkcs12.Modern2026, "x"),
		}
		for form, data := range knownMLDSA(t)[0].forms(t) {
			files["ML-DSA "+form] = data
		}
		for name, data := range files {
			if err := os.WriteFile(dir+"/"+name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestFIPSMode$", "-test.v")
		cmd.Env = append(os.Environ(), fipsVariable+"="+dir, "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for name, want := range names {
		data, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = open(t.Context(), data)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "FIPS") {
			t.Errorf("%s: error %v", name, err)
		}
		hint := "without encryption" // what OpenSSL 3.0 encrypts is refused, too
		if strings.HasPrefix(name, "ML-DSA") {
			hint = "RSA or ECDSA"
		}
		if !strings.Contains(signer.Hint(err), hint) {
			t.Errorf("%s: hint %q", name, signer.Hint(err))
		}
	}
}
