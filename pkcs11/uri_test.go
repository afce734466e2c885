package pkcs11

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestParseURI(t *testing.T) {
	for _, test := range uriTests {
		got, err := ParseURI(test.uri)
		if (err != nil) != (test.err != nil) {
			t.Errorf("%q: error %v, want %v", test.uri, err, test.err)
			continue
		}
		if got != test.want {
			t.Errorf("%q: %#v with the PIN %q, want %#v", test.uri, got, got.PINValue, test.want)
		}
		if err == nil {
			checkRoundTrip(t, got)
		}
	}
}

// checkRoundTrip checks that parsing u.String() returns u, and that u.String()
// is the canonical form.
func checkRoundTrip(t *testing.T, u URI) {
	t.Helper()
	u.PINValue = ""
	again, err := ParseURI(u.String())
	if err != nil || again != u {
		t.Errorf("%s is parsed as %#v, error %v", u, again, err)
	}
	if again.String() != u.String() {
		t.Errorf("%s becomes %s", u, again)
	}
}

func TestURIString(t *testing.T) {
	u := URI{
		Token: "a;b", Manufacturer: "ü", Serial: "1", Model: "m", LibraryManufacturer: "l", LibraryDescription: "d e", LibraryVersion: "1.2",
		SlotDescription: "s", SlotManufacturer: "t", SlotID: "7", Object: "1/100%", Type: "private", ID: "a\x00\xff",
		PINSource: "file:/run/p n", ModulePath: "/usr/lib/x y.so",
	}
	const want = "pkcs11:token=a%3Bb;manufacturer=%C3%BC;serial=1;model=m;library-manufacturer=l;library-description=d%20e;library-version=1.2;" +
		"slot-description=s;slot-manufacturer=t;slot-id=7;object=1%2F100%25;type=private;id=%61%00%FF?pin-source=file:/run/p%20n&module-path=/usr/lib/x%20y.so"
	if got := u.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	checkRoundTrip(t, u)
}

func TestPINNotShown(t *testing.T) {
	const pin = "s3cr3t-pin"
	u, err := ParseURI("pkcs11:object=a?pin-value=" + pin + "&module-name=m")
	if err != nil || u.PINValue != pin {
		t.Fatal(err)
	}
	type nested struct {
		URI
		Inner URI
		Ptr   *URI
		List  []URI
	}
	for _, v := range []any{u, &u, nested{u, u, &u, []URI{u}}, map[string]URI{"a": u}, Config{URI: u}, &Config{URI: u}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X"} {
			got := fmt.Sprintf(format, v)
			if strings.Contains(got, pin) || strings.Contains(strings.ToLower(got), hex.EncodeToString([]byte(pin))) {
				t.Errorf("%s of %T shows the PIN: %s", format, v, got)
			}
		}
	}
	for _, uri := range []string{
		"pkcs11:?pin-value=" + pin + " ", "pkcs11:?pin-value=" + pin + "%", "pkcs11:?pin-value=" + pin + "&pin-value=" + pin,
		"pkcs11:?pin-value=" + pin + "&pin-source=/a", "pkcs11:?pin-value=" + pin + "€", "pkcs11:?pin-value=" + pin + "%00", "pkcs11:pin-value=" + pin,
		"pkcs11:?pin-value=" + pin + "&bogus=" + pin, "pkcs11:type=" + pin, "pkcs11:slot-id=" + pin, "pkcs11:?pin-value;" + pin, "pkcs12:?pin-value=" + pin,
	} {
		_, err := ParseURI(uri)
		if err == nil {
			t.Errorf("%q is accepted", uri)
		} else if strings.Contains(err.Error()+signer.Hint(err), pin) {
			t.Errorf("%q: error %q shows the PIN", uri, err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	for _, test := range uriTests {
		f.Add(test.uri)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			if u != (URI{}) {
				t.Error("a URI is returned together with an error")
			}
			return
		}
		checkRoundTrip(t, u)
		const pin = "s3cr3t-pin"
		u.PINValue, u.PINSource = "", ""
		without := u.String()
		u.PINValue = pin
		if got := u.String(); strings.Contains(strings.Replace(got, without, "", 1), pin) || fmt.Sprintf("%#v %+v", u, u) == "" {
			t.Errorf("%s shows the PIN", got)
		}
		if _, err := ParseURI(s + "%"); err != nil && strings.Contains(s, "pin-value="+pin) && strings.Contains(err.Error(), pin) {
			t.Errorf("error %q shows the PIN", err)
		}
	})
}
