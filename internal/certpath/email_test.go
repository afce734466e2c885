package certpath

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
)

func TestEmailInSubject(t *testing.T) {
	for _, c := range []struct {
		address             string
		permitted, excluded []string
		ok                  bool
	}{
		{"app@example.com", nil, nil, true},
		{"app@example.com", []string{"example.com"}, nil, true},
		{"app@EXAMPLE.com", []string{"example.com"}, nil, true},
		{"app@sub.example.com", []string{"example.com"}, nil, false},
		{"app@sub.example.com", []string{".example.com"}, nil, true},
		{"app@example.com", []string{".example.com"}, nil, false},
		{"app@evil.com", []string{"example.com", "example.org"}, nil, false},
		{"app@example.com", []string{"app@example.com"}, nil, true},
		{"App@example.com", []string{"app@example.com"}, nil, false},
		{"app@example.com", nil, []string{"example.com"}, false},
		{"app@example.org", nil, []string{"example.com"}, true},
		{"app@example.com", []string{"example.com"}, []string{"app@example.com"}, false},
		{"example.com", []string{"app@example.com"}, nil, false},
	} {
		issuer := &x509.Certificate{PermittedEmailAddresses: c.permitted, ExcludedEmailAddresses: c.excluded}
		leaf := &x509.Certificate{Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: oidEmailAddress, Value: c.address}}}}
		if err := Check([]*x509.Certificate{leaf, issuer}); (err == nil) != c.ok {
			t.Errorf("%s, permitted %q, excluded %q: %v", c.address, c.permitted, c.excluded, err)
		}
		leaf.EmailAddresses = []string{"x@example.com"} // for crypto/x509 to check
		if err := Check([]*x509.Certificate{leaf, issuer}); err != nil {
			t.Errorf("%s with an alternative name: %v", c.address, err)
		}
	}
}
