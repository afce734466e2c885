package keystore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestParseRef(t *testing.T) {
	long := strings.Repeat("a", 16<<10-1)
	tests := []struct{ in, scheme, rest, str string }{ // an empty str means the same as in
		{"key.pem", "file", "key.pem", ""},
		{"dir/key.pem", "file", "dir/key.pem", ""},
		{"../key.pem", "file", "../key.pem", ""},
		{"/etc/holdfast/key.pem", "file", "/etc/holdfast/key.pem", ""},
		{"//server/share/k.pem", "file", "//server/share/k.pem", ""},
		{"/my keys/the key.pem", "file", "/my keys/the key.pem", ""},
		{" key.pem ", "file", " key.pem ", ""},
		{"/100%/k?#.pem", "file", "/100%/k?#.pem", ""},
		{"ключ.pem", "file", "ключ.pem", ""},
		{"\xff\xfe.pem", "file", "\xff\xfe.pem", "file:%FF%FE.pem"},
		{"//srv/\u0085\u202e%.pem", "file", "//srv/\u0085\u202e%.pem", "file:////srv/%C2%85%E2%80%AE%25.pem"},
		{"/a:b", "file", "/a:b", ""},
		{"./a:b", "file", "./a:b", ""},
		{"dir/pkcs11:x", "file", "dir/pkcs11:x", ""},
		{"./pkcs11:x", "file", "./pkcs11:x", ""},
		{"./-", "file", "./-", ""},
		{"--", "file", "--", ""},
		{":x", "file", ":x", ""},
		{"a_b:c", "file", "a_b:c", ""}, // no scheme has an underscore
		{"2ab:c", "file", "2ab:c", ""}, // or begins with a digit
		{`C:\k.pem`, "file", `C:\k.pem`, ""},
		{"C:k.pem", "file", "C:k.pem", ""},
		{"c:/k.pem", "file", "c:/k.pem", ""},
		{`\\server\share\k.pem`, "file", `\\server\share\k.pem`, ""},
		{long, "file", long, ""},

		{"file:/k", "file", "/k", "/k"},
		{"file:///k", "file", "/k", "/k"},
		{"file://localhost/k", "file", "/k", "/k"},
		{"file://LocalHost/k", "file", "/k", "/k"}, // RFC 3986, section 3.2.2
		{"file:////srv/k", "file", "//srv/k", "//srv/k"},
		{"file:k", "file", "k", "k"},
		{"file:../k", "file", "../k", "../k"},
		{"FILE:/k", "file", "/k", "/k"},
		{"file:/my%20key", "file", "/my key", "/my key"},
		{"file:/my key", "file", "/my key", "/my key"},
		{"file:/%C3%A9", "file", "/é", "/é"},
		{"file:/a+b", "file", "/a+b", "/a+b"},
		{"file:/a%3Fb%23c%25", "file", "/a?b#c%", "/a?b#c%"},
		{"file:/a%2Fb", "file", "/a/b", "/a/b"},
		{"file:/a;b=c", "file", "/a;b=c", "/a;b=c"},
		// Without "file:" the path would have another meaning.
		{"file:-", "file", "-", "file:-"},
		{"file:%2D", "file", "-", "file:-"},
		{"file:env:X", "file", "env:X", "file:env:X"},
		{"file:pkcs11:x%3Fy", "file", "pkcs11:x?y", "file:pkcs11:x%3Fy"},
		{"file:file:x%25", "file", "file:x%", "file:file:x%25"},

		{"-", "-", "", ""},
		{"env:NAME", "env", "NAME", ""},
		{"ENV:Name", "env", "Name", "env:Name"},
		{"env:A B", "env", "A B", ""},
		{"env:a:b", "env", "a:b", ""},

		{"pkcs11:", "pkcs11", "", ""},
		{"pkcs11:token=My%20token;object=k;id=%01?pin-source=file:/pin&module-path=/m.so", "pkcs11", "token=My%20token;object=k;id=%01?pin-source=file:/pin&module-path=/m.so", ""},
		{"PKCS11:token=T", "pkcs11", "token=T", "pkcs11:token=T"},
		{"pkcs11:object=R&D;id=%00", "pkcs11", "object=R&D;id=%00", ""},
		{"tpm:handle=0x81010002", "tpm", "handle=0x81010002", ""},
		{"tpm:path=key.pem;auth-source=file:/run/pin", "tpm", "path=key.pem;auth-source=file:/run/pin", ""},
		{"handle:81010002", "handle", "81010002", ""},
		{"winstore:location=machine;store=MY;subject=CN=app", "winstore", "location=machine;store=MY;subject=CN=app", ""},
		{"keychain:label=app;sha256=00", "keychain", "label=app;sha256=00", ""},
		{"Keychain:Label=App", "keychain", "Label=App", "keychain:Label=App"},
		{"no-such.scheme+1:x", "no-such.scheme+1", "x", ""},
		{"https://example.com/k", "https", "//example.com/k", ""},
		{"ab:", "ab", "", ""},
	}
	if len(tests) < 55 {
		t.Errorf("%d references", len(tests))
	}
	for _, test := range tests {
		ref, err := keystore.ParseRef(test.in)
		if err != nil {
			t.Errorf("%.80q: %v", test.in, err)
			continue
		}
		if want := (keystore.Ref{Scheme: test.scheme, Rest: test.rest}); ref != want {
			t.Errorf("%.80q: got %+q, want %+q", test.in, ref, want)
		}
		str := test.str
		if str == "" {
			str = test.in
		}
		if ref.String() != str {
			t.Errorf("%.80q: String is %.80q, want %.80q", test.in, ref, str)
		}
		if again, err := keystore.ParseRef(ref.String()); again != ref {
			t.Errorf("%.80q: String parses to %+v, error %v", test.in, again, err)
		}
	}
}

// An error shows enough of a reference to recognize it, but no key or PIN,
// which a user may have given instead of a name.
func TestParseRefRefuses(t *testing.T) {
	const secret = "MIGHAgEAMBMGByqGSM49"
	pem := "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"
	tests := []struct{ name, in, shown string }{
		{"empty", "", ""},
		{"NUL", "key\x00.pem", "key"},
		{"line end inside", "key.pem\nx", "key.pem"},
		{"line end last", "/etc/holdfast/key.pem\r\n", "/etc/holdfast/key.pem"},
		{"carriage return", "a\rb", "a"},
		{"too long", "pkcs11:token=" + strings.Repeat("a", 16<<10), "pkcs11:token="},
		{"too long, not UTF-8", strings.Repeat("\xe2\x82", 16<<10), ""},
		{"PEM", pem, "BEGIN"},
		{"PEM after file:", "file:" + pem, "BEGIN"},
		{"PEM on one line", strings.ReplaceAll(pem, "\n", " "), "BEGIN"},
		{"PEM and longer than a reference", pem + strings.Repeat("x", 16<<10), "BEGIN"},
		{"PEM without its first line", secret + "\n" + secret, secret[:4]},
		{"too long with a PIN", "pkcs11:?pin-value=" + secret + strings.Repeat("x", 16<<10), "pkcs11:?pin-value="},
		{"two lines with a PIN", "pkcs11:?pin-\nvalue=" + secret, "pkcs11:?"},

		{"file: alone", "file:", "file:"},
		{"file: with a host and no path", "file://host", "file://host"},
		{"file: on another host", "file://host/k", "file://host/k"},
		{"file: on an address", "file://127.0.0.1/k", "file://127.0.0.1/k"},
		{"file: with a query", "file:/k?a=b", "file:/k?a=b"},
		{"file: with a fragment", "file:/k#a", "file:/k#a"},
		{"file: with a PIN", "file:/k?pin-value=" + secret, "file:/k?pin-value="},
		{"file: with a PIN as host", "file://k?pin-value=" + secret + "/", "file://k?pin-value="},
		{"percent alone", "file:/100%", "file:/100%"},
		{"percent and one digit", "file:/a%2", "file:/a%2"},
		{"percent and no digits", "file:/a%zz", "file:/a%zz"},
		{"NUL by percent", "file:/a%00b", "file:/a%00b"},
		{"line end by percent", "file:/a%0Ab", "file:/a%0Ab"},
		{"PEM by percent", "file:%2D----BEGIN", "file:%2D----BEGIN"},

		{"env: alone", "env:", "env:"},
		{"env: with a value", "env:PASSWORD=" + secret, "env:PASSWORD="},
		{"env: with a value alone", "env:=" + secret, "env:="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ref, err := keystore.ParseRef(test.in)
			var refErr *keystore.RefError
			if !errors.As(err, &refErr) {
				t.Fatalf("got %+v, error %v", ref, err)
			}
			if !strings.Contains(refErr.Ref, test.shown) || !strings.Contains(err.Error(), test.shown) {
				t.Errorf("%q does not show %q", err, test.shown)
			}
			if strings.Contains(err.Error()+refErr.Ref+signer.Hint(err), secret) {
				t.Errorf("%q shows the secret", err)
			}
			if len(refErr.Ref) > 300 || strings.ContainsAny(refErr.Ref, "\x00\r\n") {
				t.Errorf("%q is too long or has control characters", refErr.Ref)
			}
		})
	}
}

func TestPINValueIsNeverShown(t *testing.T) {
	const pin = "s3cret"
	refs := []string{
		"pkcs11:token=t?pin-value=" + pin,
		"pkcs11:?pin-value=" + pin,
		"pkcs11:pin-value=" + pin,
		"pkcs11:pin-value=" + pin + ";token=t",
		"pkcs11:token=t;pin-value=" + pin + "?module-path=/m",
		"pkcs11:token=t?module-path=/m&pin-value=" + pin + "&pin-source=file:/p",
		"pkcs11:token=t?PIN-VALUE=" + pin,
		"PKCS11:token=t?Pin-Value=" + pin,
		"pkcs11:token=t?pin%2Dvalue=" + pin,
		"pkcs11:token=t?pin%2dvalu%65=" + pin,
		"pkcs11:token=t?%70%69%6e%2d%76%61%6C%75%65=" + pin,
		"pkcs11:token=t?%50in-value=" + pin,
		"pkcs11:token=t?pin-value%3D" + pin,
		"pkcs11:token=t?pin-value =" + pin,
		"pkcs11:token=t?pin-value=" + pin + "?pin-value=" + pin + "2",
		"pkcs11:pin-value=" + pin + ";pin-value=" + pin,
		// RFC 7512, section 2.3, allows these without percent-encoding.
		"pkcs11:pin-value=12&" + pin,
		"pkcs11:token=t?pin-value=12?" + pin,
		"pkcs11:token=t?pin-value=12/" + pin,
		"pkcs11:token=t?pin-value==" + pin,
		// Mistakes.
		"pkcs11:token=t?pin-value=12;" + pin,
		"pkcs11:token=t?pin-value=12#" + pin,
		"pkcs11:token=t,pin-value=" + pin,
		"pkcs11:token=t pin-value=" + pin,
		"pkcs11:token=%zz?pin-value=%zz" + pin,
		"p11:token=t?pin-value=" + pin,
		"pkcs_11:token=t?pin-value=" + pin, // a path
		"file:pkcs11:token=t;pin-value=" + pin,
		"tpm:handle=1?pin-value=" + pin,
		// Attributes that do not exist.
		"pkcs11:token=t?pin=" + pin,
		"pkcs11:pin=" + pin,
		"pkcs11:token=t?pin_value=" + pin,
		"pkcs11:token=t;PIN=" + pin + "?module-path=/m",
		"pkcs11:token=t?p%69n=" + pin,
		"pkcs11:token=t?pinsource=12&" + pin,
		"tpm:path=a;password=" + pin,
		"tpm:path=a;key-passphrase=" + pin,
		"winstore:client_secret=" + pin,
	}
	store := keystore.New()
	for _, in := range refs {
		ref, err := keystore.ParseRef(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		_, openErr := store.Open(t.Context(), ref, keystore.Options{})
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "ref", ref, "prompt", keystore.Prompt{Ref: ref})
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "ref", ref, "prompt", keystore.Prompt{Ref: ref})
		inJSON, err := json.Marshal(map[string]any{"ref": ref})
		if err != nil {
			t.Error(err)
		}
		for _, shown := range []string{
			ref.String(), fmt.Sprintf("%v %+v %#v %s %q %x", ref, ref, ref, ref, ref, ref),
			fmt.Sprintf("%v %+v %#v", keystore.Prompt{Ref: ref}, &keystore.Prompt{Ref: ref}, keystore.Prompt{Ref: ref}),
			openErr.Error(), signer.Hint(openErr), log.String(), string(inJSON),
		} {
			if strings.Contains(shown, pin) || strings.Contains(shown, fmt.Sprintf("%x", pin)) {
				t.Errorf("%s: shown as %s", in, shown)
			}
		}
		if before := ref.Rest[:min(len(ref.Rest), 2)]; !strings.Contains(ref.String(), before) {
			t.Errorf("%s: String is %s", in, ref)
		}
	}
}

// shownPIN matches an attribute with the name pin-value that has a value.
var shownPIN = regexp.MustCompile(`(?i)(^|[?;&,# \t])([^=?;&,# \t]*:)?pin-value=[^…]`)

func checkNoPIN(t *testing.T, shown string) {
	t.Helper()
	if shownPIN.MatchString(shown) {
		t.Errorf("%q shows a PIN", shown)
	}
}

// Only the name of an attribute counts, not the same text in a value.
func TestPINValueInAValue(t *testing.T) {
	for _, in := range []string{
		"pkcs11:object=pin-value%3Dx", "pkcs11:object=my%20pin-value%3Dx", "pkcs11:object=a%3Bpin-value=x?module-path=/m",
		"pkcs11:object=a:pin-value%3Dx", "/keys/pin-value=x.pem", "./pin-value=x.pem", "my-pin-value=x.pem",
		"tpm:" + keystore.FormatAttribute("path", "a pin-value=x,pin-value=y;pin-value=z&pin-value=?pin-value=#pin-value=\tpin-value="),
		"tpm:path=pin-value=x", "/keys/a;password=x.pem", "file:env:x;pin=x", "winstore:subject=CN=a, pin=b", "pkcs11:token=pin%3D1;object=secret?pin-source=file:/pin",
		"tpm:" + keystore.FormatAttribute("path", "a pin=b,password=c"), "tpm:path=/secret/passwords/pin.pem;pin-source=env:PASS",
	} {
		ref, err := keystore.ParseRef(in)
		if err != nil || ref.String() != in {
			t.Errorf("%s: String is %s, error %v", in, ref, err)
		}
	}
	const pin = "s3cret"
	for _, in := range []string{
		"pkcs11:token=t?pin-source=tpm:path=a%3Bpin-value=" + pin, "pkcs11:token=t?pin-source=tpm:path=a%3Bpin-value%3D" + pin,
		"tpm:handle=1;parent-auth-source=tpm:path=a%3Bpin%2Dvalue=" + pin, "pkcs11:pin-value%3D12:" + pin,
	} {
		if ref, err := keystore.ParseRef(in); err != nil || strings.Contains(ref.String(), pin) {
			t.Errorf("%s: String is %s, error %v", in, ref, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{
		"", "-", "key.pem", `C:\k`, "./a:b", "file:/a%20b", "file://localhost/k", "file:-", "file:env:X", "file:////k", "env:NAME",
		"pkcs11:token=t;id=%01?pin-value=s3cret&module-path=/m", "TPM:handle=0x81010002", "a\nb", "-----BEGIN", "file:%2D----BEGIN",
		"file:a:%0A", "file:pin%2Dvalue=s3cret", "x:y?PIN%2dVALUE%3Ds3cret",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := keystore.ParseRef(s)
		if err != nil {
			var refErr *keystore.RefError
			if !errors.As(err, &refErr) || ref != (keystore.Ref{}) {
				t.Errorf("got %+v, error %v", ref, err)
			}
			checkNoPIN(t, refErr.Ref)
			return
		}
		str := ref.String()
		checkNoPIN(t, str)
		if strings.ContainsAny(str, "\x00\r\n") {
			t.Errorf("%q has a control character", str)
		}
		if redacted := strings.HasSuffix(str, "…"); !redacted {
			if again, err := keystore.ParseRef(str); again != ref {
				t.Errorf("%q parses to %+v, its String %q to %+v, error %v", s, ref, str, again, err)
			}
		}
	})
}

// TestFingerprintIsNoKey: the fingerprint of a public key can begin like a key.
func TestFingerprintIsNoKey(t *testing.T) {
	const text = "sshagent:sha256=MIACDtcrWRyTkhRnRVkXYFKI0n6xhjVRMmi1SkWyEUA"
	ref, err := keystore.ParseRef(text)
	if err != nil || ref.String() != text {
		t.Errorf("%v, %v", ref, err)
	}
}
