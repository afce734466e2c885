package pkcs11

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var errRefused = errors.New("refused")

// uriTests are what is read and what is not. Where p11-kit reads what is
// refused here, or something else, differs says why.
var uriTests = []struct {
	uri     string
	want    URI
	err     error  // errRefused: it is not read
	differs string // if empty, p11-kit does the same
}{
	// RFC 7512, section 3.
	{"pkcs11:", URI{}, nil, ""},
	{"pkcs11:object=my-pubkey;type=public", URI{Object: "my-pubkey", Type: "public"}, nil, ""},
	{"pkcs11:object=my-key;type=private?pin-source=file:/etc/token", URI{Object: "my-key", Type: "private", PINSource: "file:/etc/token"}, nil, ""},
	{"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;" +
		"id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin", URI{}, errRefused, "an empty value matches nothing or anything; the RFC does not say"},
	{"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;" +
		"id=%69%95%3E%5C%F4%BD%EC%91?pin-source=file:/etc/token_pin",
		URI{Token: "The Software PKCS#11 Softtoken", Manufacturer: "Snake Oil, Inc.", Model: "1.0", Object: "my-certificate", Type: "cert",
			ID: "\x69\x95\x3e\x5c\xf4\xbd\xec\x91", PINSource: "file:/etc/token_pin"}, nil, ""},
	{"pkcs11:object=my-sign-key;type=private?module-name=mypkcs11", URI{Object: "my-sign-key", Type: "private", ModuleName: "mypkcs11"}, nil, ""},
	{"pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1", URI{Object: "my-sign-key", Type: "private", ModulePath: "/mnt/libmypkcs11.so.1"}, nil, ""},
	{"pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin",
		URI{Token: "Software PKCS#11 softtoken", Manufacturer: "Snake Oil, Inc.", PINValue: "the-pin"}, nil, ""},
	{"pkcs11:slot-description=Sun%20Metaslot", URI{SlotDescription: "Sun Metaslot"}, nil, ""},
	{"pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23",
		URI{LibraryManufacturer: "Snake Oil, Inc.", LibraryDescription: "Soft Token Library", LibraryVersion: "1.23"}, nil, ""},
	{"pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
		URI{Token: "My token% created by Joe", LibraryVersion: "3", ID: "\x01\x02\x03\xba\xdd\xca\xfe\x04\x05\x06"}, nil, ""},
	{"pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert",
		URI{Token: "A name with a substring %;", Object: "my-certificate", Type: "cert"}, nil, ""},
	{"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert",
		URI{Token: "Name with a small A with acute: á", Object: "my-certificate", Type: "cert"}, nil, "longer than a label of 32 bytes: p11-kit matches nothing"},
	{"pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a?pin-source=file:/etc/token_pin&vendor-bbb=value-b",
		URI{}, errRefused, "vendors' attributes: a mistyped name would widen what matches"},

	// Every attribute.
	{"pkcs11:serial=0123456789abcdef", URI{Serial: "0123456789abcdef"}, nil, ""},
	{"pkcs11:slot-manufacturer=m;slot-id=5", URI{SlotManufacturer: "m", SlotID: "5"}, nil, ""},
	{"pkcs11:model=m;manufacturer=n", URI{Model: "m", Manufacturer: "n"}, nil, ""},
	{"pkcs11:?pin-source=file:/a", URI{PINSource: "file:/a"}, nil, ""},
	{"pkcs11:?module-name=softhsm2", URI{ModuleName: "softhsm2"}, nil, ""},
	{"pkcs11:type=private", URI{Type: "private"}, nil, ""},

	// The scheme.
	{"PKCS11:token=x", URI{Token: "x"}, nil, ""},
	{"Pkcs11:token=x", URI{Token: "x"}, nil, ""},
	{"", URI{}, errRefused, ""},
	{"pkcs11", URI{}, errRefused, ""},
	{"pkcs:token=x", URI{}, errRefused, ""},
	{"token=x", URI{}, errRefused, ""},
	{" pkcs11:token=x", URI{}, errRefused, "blanks are dropped by p11-kit"},
	{"pkcs11://token=x", URI{}, errRefused, "an attribute //token"},
	{"pkcs11:/token=x", URI{}, errRefused, "an attribute /token"},

	// Characters.
	{"pkcs11:object=a+b", URI{Object: "a+b"}, nil, ""},
	{"pkcs11:object=a&b", URI{Object: "a&b"}, nil, ""},
	{"pkcs11:object=a=b", URI{Object: "a=b"}, nil, ""},
	{"pkcs11:object=-._~:[]@!$'()*+,=&", URI{Object: "-._~:[]@!$'()*+,=&"}, nil, ""},
	{"pkcs11:?pin-value=a+b", URI{PINValue: "a+b"}, nil, ""},
	{"pkcs11:?pin-value=1%262", URI{PINValue: "1&2"}, nil, ""},
	{"pkcs11:?pin-value=a/b?c|d", URI{PINValue: "a/b?c|d"}, nil, ""},
	{"pkcs11:?module-path=/a%20%26%3B/b?c|d%23%25", URI{ModulePath: "/a &;/b?c|d#%"}, nil, ""},
	{"pkcs11:?pin-source=|/bin/echo", URI{PINSource: "|/bin/echo"}, nil, ""},
	{"pkcs11:object=a%2Fb", URI{Object: "a/b"}, nil, ""},
	{"pkcs11:object=a%2fb", URI{Object: "a/b"}, nil, ""},
	{"pkcs11:object=a/b", URI{}, errRefused, "the grammar wants / encoded in a path"},
	{"pkcs11:object=a|b", URI{}, errRefused, "the grammar wants | encoded in a path"},
	{"pkcs11:object=a\"b", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=a<b>", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=a\\b", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=a^b`c{d}", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=€", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=%E2%82%AC", URI{Object: "€"}, nil, ""},
	{"pkcs11:object=\xe4", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=%E4", URI{}, errRefused, "text is UTF-8"},
	{"pkcs11:object=a%00b", URI{}, errRefused, "a label ends at NUL for many modules"},
	{"pkcs11:object=a b", URI{}, errRefused, "blanks are dropped by p11-kit: it would find ab"},
	{"pkcs11:object=a\nb", URI{}, errRefused, "blanks are dropped by p11-kit: it would find ab"},
	{"pkcs11:object=ab\n", URI{}, errRefused, "blanks are dropped by p11-kit"},
	{"pkcs11:\tobject=ab", URI{}, errRefused, "blanks are dropped by p11-kit"},
	{"pkcs11:object=a\x7f", URI{}, errRefused, "the grammar wants it encoded"},
	{"pkcs11:object=a%20b", URI{Object: "a b"}, nil, ""},
	{"pkcs11:object=a%0Ab", URI{Object: "a\nb"}, nil, ""},
	{"pkcs11:object=x#fragment", URI{}, errRefused, "a PKCS #11 URI has no fragment"},
	{"pkcs11:object=x?pin-value=1#2", URI{}, errRefused, "a PKCS #11 URI has no fragment"},
	{"pkcs11:object=%2", URI{}, errRefused, ""},
	{"pkcs11:object=%zz", URI{}, errRefused, ""},
	{"pkcs11:object=100%", URI{}, errRefused, ""},
	{"pkcs11:?pin-value=%", URI{}, errRefused, ""},
	{"pkcs11:obj%65ct=a", URI{}, errRefused, "names are not encoded"},

	// Shape.
	{"pkcs11:object=a;object=b", URI{}, errRefused, "twice: p11-kit takes the last"},
	{"pkcs11:object=a;object=a", URI{}, errRefused, "twice: p11-kit takes the last"},
	{"pkcs11:id=%01;id=%02", URI{}, errRefused, "twice: p11-kit takes the last"},
	{"pkcs11:?pin-value=1&pin-value=2", URI{}, errRefused, "twice: p11-kit takes the last"},
	{"pkcs11:?module-path=/a&module-path=/b", URI{}, errRefused, "twice: p11-kit takes the last"},
	{"pkcs11:object=", URI{}, errRefused, "empty: p11-kit looks for an empty label"},
	{"pkcs11:token=", URI{}, errRefused, "empty: p11-kit takes any"},
	{"pkcs11:id=", URI{}, errRefused, "empty: p11-kit looks for an empty ID"},
	{"pkcs11:?pin-value=", URI{}, errRefused, "empty: a module may take it for a protected path"},
	{"pkcs11:?pin-source=", URI{}, errRefused, "empty"},
	{"pkcs11:?module-name=", URI{}, errRefused, "empty"},
	{"pkcs11:?module-path=", URI{}, errRefused, "empty"},
	{"pkcs11:type=", URI{}, errRefused, "p11-kit reads it and matches nothing"},
	{"pkcs11:slot-id=", URI{}, errRefused, "empty"},
	{"pkcs11:object", URI{}, errRefused, ""},
	{"pkcs11:=a", URI{}, errRefused, ""},
	{"pkcs11:=", URI{}, errRefused, ""},
	{"pkcs11:object=a;", URI{}, errRefused, "an empty attribute"},
	{"pkcs11:;object=a", URI{}, errRefused, "an empty attribute ends the path for p11-kit"},
	{"pkcs11:object=a;;token=b", URI{}, errRefused, "an empty attribute ends the path for p11-kit"},
	{"pkcs11:object=a?", URI{Object: "a"}, nil, ""},
	{"pkcs11:?", URI{}, nil, ""},
	{"pkcs11:object=a?&", URI{}, errRefused, ""},
	{"pkcs11:object=a?pin-value=1&", URI{}, errRefused, "an empty attribute"},
	{"pkcs11:object=a?pin-value", URI{}, errRefused, ""},

	// Names.
	{"pkcs11:bogus=x", URI{}, errRefused, "unknown: p11-kit matches nothing, other readers anything"},
	{"pkcs11:x-foo=bar", URI{}, errRefused, "vendors' attributes"},
	{"pkcs11:object=a?x-foo=bar", URI{}, errRefused, "vendors' attributes"},
	{"pkcs11:Object=a", URI{}, errRefused, "names are in lower case"},
	{"pkcs11:object-type=private", URI{}, errRefused, "a name of drafts of the RFC"},
	{"pkcs11:objecttype=private", URI{}, errRefused, "a name of drafts of the RFC"},
	{"pkcs11:pin-value=1", URI{}, errRefused, "belongs behind the question mark"},
	{"pkcs11:module-path=/a", URI{}, errRefused, "belongs behind the question mark"},
	{"pkcs11:?object=a", URI{}, errRefused, "belongs before the question mark"},
	{"pkcs11:?pinfile=/a", URI{}, errRefused, "a name of drafts of the RFC"},

	// Values.
	{"pkcs11:type=public", URI{Type: "public"}, nil, ""},
	{"pkcs11:type=cert", URI{Type: "cert"}, nil, ""},
	{"pkcs11:type=secret-key", URI{}, errRefused, "no key that signs"},
	{"pkcs11:type=data", URI{}, errRefused, "no key that signs"},
	{"pkcs11:type=bogus", URI{}, errRefused, "p11-kit reads it and matches nothing"},
	{"pkcs11:type=Private", URI{}, errRefused, "p11-kit reads it and matches nothing"},
	{"pkcs11:slot-id=0", URI{SlotID: "0"}, nil, ""},
	{"pkcs11:slot-id=4294967295", URI{SlotID: "4294967295"}, nil, ""},
	{"pkcs11:slot-id=99999999999999999999", URI{}, errRefused, "p11-kit wraps around"},
	{"pkcs11:slot-id=-1", URI{}, errRefused, ""},
	{"pkcs11:slot-id=+3", URI{}, errRefused, ""},
	{"pkcs11:slot-id=0x10", URI{}, errRefused, ""},
	{"pkcs11:slot-id=5a", URI{}, errRefused, ""},
	{"pkcs11:slot-id=%205", URI{}, errRefused, ""},
	{"pkcs11:library-version=3", URI{LibraryVersion: "3"}, nil, ""},
	{"pkcs11:library-version=3.1", URI{LibraryVersion: "3.1"}, nil, ""},
	{"pkcs11:library-version=254.254", URI{LibraryVersion: "254.254"}, nil, ""},
	{"pkcs11:library-version=255.255", URI{LibraryVersion: "255.255"}, nil, "p11-kit refuses 255"},
	{"pkcs11:library-version=256.0", URI{}, errRefused, ""},
	{"pkcs11:library-version=1.256", URI{}, errRefused, ""},
	{"pkcs11:library-version=3.1.2", URI{}, errRefused, ""},
	{"pkcs11:library-version=3.", URI{}, errRefused, ""},
	{"pkcs11:library-version=.1", URI{}, errRefused, ""},
	{"pkcs11:library-version=.", URI{}, errRefused, ""},
	{"pkcs11:library-version=-1", URI{}, errRefused, ""},
	{"pkcs11:library-version=a.b", URI{}, errRefused, ""},
	{"pkcs11:id=%00", URI{ID: "\x00"}, nil, ""},
	{"pkcs11:id=%00%01%00", URI{ID: "\x00\x01\x00"}, nil, ""},
	{"pkcs11:id=AB", URI{ID: "AB"}, nil, ""},
	{"pkcs11:id=%ff%FE", URI{ID: "\xff\xfe"}, nil, ""},
	{"pkcs11:?pin-value=1&pin-source=/x", URI{}, errRefused, "which of the two is not said"},
	{"pkcs11:?module-name=a&module-path=/b", URI{}, errRefused, "which of the two is not said"},
	{"pkcs11:?module-name=a/b", URI{}, errRefused, "a name has no folder"},
	{"pkcs11:?module-name=../a", URI{}, errRefused, "a name has no folder"},
	{"pkcs11:?module-name=..", URI{}, errRefused, "a name has no folder"},
	{"pkcs11:?module-name=.hidden", URI{}, errRefused, "a name has no folder"},
	{"pkcs11:?module-name=a%2Fb", URI{}, errRefused, "a name has no folder"},
	{"pkcs11:?module-name=a*", URI{}, errRefused, "a name is no pattern"},
	{"pkcs11:?module-name=opensc-pkcs11_v1.2%2B", URI{ModuleName: "opensc-pkcs11_v1.2+"}, nil, ""},
	{"pkcs11:?module-path=relative.so", URI{ModulePath: "relative.so"}, nil, ""}, // refused when it is opened
	{"pkcs11:token=0123456789012345678901234567890123456789", URI{Token: "0123456789012345678901234567890123456789"}, nil, "longer than a label of 32 bytes: p11-kit matches nothing"},
}

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

// checkRoundTrip wants String to give what is read as the same URI, and is its
// own canonical form.
func checkRoundTrip(t *testing.T, u URI) {
	t.Helper()
	u.PINValue = ""
	again, err := ParseURI(u.String())
	if err != nil || again != u {
		t.Errorf("%s is read as %#v, error %v", u, again, err)
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

func TestPINIsNotShown(t *testing.T) {
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
			t.Errorf("%q is taken", uri)
		} else if strings.Contains(err.Error()+signer.Hint(err), pin) {
			t.Errorf("%q: error %q shows the PIN", uri, err)
		}
	}
}

// requireP11Kit is [signertest.Require] for p11-kit's headers.
func requireP11Kit(t testing.TB) (flags []string) {
	t.Helper()
	const name = "p11-kit-dev"
	config := signertest.Require(t, name, "pkg-config")
	out, err := exec.Command(config, "--cflags", "--libs", "p11-kit-1").Output()
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("HOLDFAST_REQUIRE"), ","), name) {
			t.Fatalf("HOLDFAST_REQUIRE lists %s: %v", name, err)
		}
		t.Skipf("%s: %v", name, err)
	}
	return strings.Fields(string(out))
}

// buildP11Kit returns the program that parses URIs with p11-kit.
func buildP11Kit(t testing.TB) (program string) {
	t.Helper()
	flags := requireP11Kit(t)
	cc := signertest.Require(t, "p11-kit-dev", "cc")
	program = filepath.Join(t.TempDir(), "p11kit-uri")
	if out, err := exec.Command(cc, append([]string{"-o", program, "testdata/p11kit-uri.c"}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return program
}

func TestURIsAsP11Kit(t *testing.T) {
	program := buildP11Kit(t)
	tests := uriTests
	for _, test := range uriTests { // and how we write what both read
		if test.err == nil && test.differs == "" && test.want.PINValue == "" {
			test.uri = test.want.String()
			tests = append(tests[:len(tests):len(tests)], test)
		}
	}
	var in strings.Builder
	for _, test := range tests {
		fmt.Fprintf(&in, "%x\n", test.uri)
	}
	cmd := exec.Command(program)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(tests) {
		t.Fatalf("%d answers to %d URIs", len(lines), len(tests))
	}
	for i, test := range tests {
		fields := strings.Fields(lines[i])
		slices.Sort(fields)
		theirs := strings.Join(fields, " ")
		ours := "refused"
		if u, err := ParseURI(test.uri); err == nil {
			ours = asP11Kit(u)
		}
		if (test.differs == "") != (ours == theirs) {
			t.Errorf("%q (differs: %q)\n   ours: %s\np11-kit: %s", test.uri, test.differs, ours, theirs)
		}
	}
}

// asP11Kit prints u as testdata/p11kit-uri.c does.
func asP11Kit(u URI) string {
	if u.LibraryVersion != "" && !strings.Contains(u.LibraryVersion, ".") {
		u.LibraryVersion += ".0"
	}
	var parts []string
	for _, a := range slices.Concat(pathAttributes, queryAttributes) {
		if v := *a.field(&u); v != "" {
			parts = append(parts, fmt.Sprintf("%s=%x", a.name, v))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func FuzzParseURI(f *testing.F) {
	for _, test := range uriTests {
		f.Add(test.uri)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			if u != (URI{}) {
				t.Error("a URI comes with the error")
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

// fixedSizes are those of the fields that p11-kit copies a value into, in bytes.
var fixedSizes = map[string]int{
	"token": 32, "manufacturer": 32, "serial": 16, "model": 16,
	"slot-description": 64, "slot-manufacturer": 32, "library-manufacturer": 32, "library-description": 32,
}

// comparable reports whether p11-kit can hold u as it is.
func comparable(u URI) bool {
	for _, a := range slices.Concat(pathAttributes, queryAttributes) {
		v := *a.field(&u)
		if n := fixedSizes[a.name]; n > 0 && (len(v) > n || strings.TrimRight(v, " ") != v) {
			return false
		}
	}
	return !strings.Contains(u.LibraryVersion, "255") && u.SlotID != strconv.FormatUint(math.MaxUint, 10)
}

// plainNumber drops leading zeros, as p11-kit prints numbers.
func plainNumber(s string) string {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return s
	}
	return strconv.FormatUint(n, 10)
}

// FuzzURIAsP11Kit checks that p11-kit takes what we take, for the same.
func FuzzURIAsP11Kit(f *testing.F) {
	cmd := exec.Command(buildP11Kit(f))
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	answers := bufio.NewReader(out)
	for _, test := range uriTests {
		f.Add(test.uri)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil || !comparable(u) {
			return
		}
		if _, err := fmt.Fprintf(in, "%x\n", s); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(line)
		slices.Sort(fields)
		u.SlotID = plainNumber(u.SlotID)
		if major, minor, ok := strings.Cut(u.LibraryVersion, "."); u.LibraryVersion != "" {
			if u.LibraryVersion = plainNumber(major); ok {
				u.LibraryVersion += "." + plainNumber(minor)
			}
		}
		if ours, theirs := asP11Kit(u), strings.Join(fields, " "); ours != theirs {
			t.Errorf("%q\n   ours: %s\np11-kit: %s", s, ours, theirs)
		}
	})
}
