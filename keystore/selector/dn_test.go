package selector

import "testing"

// A value that contains a separator must not make an RDN with one attribute
// equal to an RDN with two.
func TestRDNsAreNotConfused(t *testing.T) {
	two, err := ParseDN("CN=a+CN=b")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []string{`CN=a\00\2B\002.5.4.3=b`, `CN=a\2B2.5.4.3=b`, `CN=a\22\2B\222.5.4.3=b`} {
		d, err := ParseDN(one)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.rdns) != 1 || d.rdns[0].canonical == two.rdns[0].canonical {
			t.Errorf("%s equals %s", one, two)
		}
	}
}
