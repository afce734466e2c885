package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func request(t *testing.T, key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestRefusedRequests(t *testing.T) {
	p256 := signertest.Key(t, "p256")
	good := request(t, p256, nil)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	renamed := bytes.Replace(good, []byte("app"), []byte("sys"), 1)
	critical := func(id ...int) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
		}
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                     {nil, "the file is empty"},
		"text":                      {[]byte("hello"), "damaged"},
		"truncated":                 {good[:len(good)/2], "damaged"},
		"bytes after the end":       {append(slices.Clone(good), 0), "damaged"},
		"too large":                 {bytes.Repeat([]byte("x"), 65<<10), "64 KiB"},
		"a certificate":             {pemOf("CERTIFICATE", good), "CERTIFICATE REQUEST"},
		"a private key":             {pemOf("PRIVATE KEY", good), "private key"},
		"a request beside a key":    {slices.Concat(pemOf("EC PRIVATE KEY", good), pemOf("CERTIFICATE REQUEST", good)), "private key"},
		"two requests":              {slices.Concat(pemOf("CERTIFICATE REQUEST", good), pemOf("CERTIFICATE REQUEST", good)), "more than one"},
		"PEM around nothing":        {pemOf("CERTIFICATE REQUEST", nil), "damaged"},
		"PEM around garbage":        {pemOf("CERTIFICATE REQUEST", []byte("garbage")), "damaged"},
		"another signature":         {flipped, "is not one of its key"},
		"another subject":           {renamed, "is not one of its key"},
		"P-224":                     {request(t, p224, nil), "not supported"},
		"RSA of 1024 bits":          {request(t, short, nil), "1024 bits"},
		"critical extension":        {request(t, p256, critical(1, 2, 3, 4)), "1.2.3.4"},
		"critical name constraints": {request(t, p256, critical(2, 5, 29, 30)), "2.5.29.30"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := pki.ParseRequest(c.data)
			if r != nil || !errors.Is(err, pki.ErrRequest) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %q", r, err, c.want)
			}
		})
	}
	for _, kind := range []string{"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"} {
		if _, err := pki.ParseRequest(append([]byte("text before\n"), pemOf(kind, good)...)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestRefusedNames(t *testing.T) {
	link := func(s string) pki.Names {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return pki.Names{URIs: []*url.URL{u}}
	}
	dns := func(names ...string) pki.Names { return pki.Names{DNSNames: names} }
	email := func(s string) pki.Names { return pki.Names{EmailAddresses: []string{s}} }
	key := signer.FromKey(signertest.Key(t, "p256"))
	for name, n := range map[string]pki.Names{
		"subject that is no name":   {Subject: []byte("CN=app")},
		"bytes after the subject":   {Subject: append(pki.CommonName("app").Subject, 0)},
		"endless common name":       pki.CommonName(strings.Repeat("x", 2000)),
		"empty DNS name":            dns(""),
		"empty label":               dns("a..b"),
		"dot at the end":            dns("example.com."),
		"long label":                dns(strings.Repeat("a", 64) + ".example"),
		"long DNS name":             dns(strings.Repeat("a.", 130) + "a"),
		"space":                     dns("a b"),
		"NUL":                       dns("example.com\x00.evil"),
		"not ASCII":                 dns("zürich.example"),
		"hyphen first":              dns("-a.example"),
		"hyphen last":               dns("a-.example"),
		"wildcard in the middle":    dns("a.*.example"),
		"wildcard alone":            dns("*"),
		"a URL as a DNS name":       dns("https://example.com"),
		"a hundred and one names":   dns(slices.Repeat([]string{"a.example"}, 101)...),
		"URI without a scheme":      link("/path"),
		"endless URI":               link("urn:" + strings.Repeat("x", 2000)),
		"address with a zone":       {IPAddresses: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}},
		"no address":                {IPAddresses: []netip.Addr{{}}},
		"email without a host":      email("app"),
		"email without a name":      email("@example.com"),
		"email with a display name": email("App <app@example.com>"),
		"email that is not ASCII":   email("zürich@example.com"),
	} {
		t.Run(name, func(t *testing.T) {
			if n.Check() == nil {
				t.Error("Check accepts it")
			}
			if der, err := pki.NewRequest(rand.Reader, key, n); err == nil || der != nil {
				t.Errorf("%x, %v", der, err)
			}
		})
	}
}

// san returns an extension with the alternative names.
func san(t *testing.T, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}
}

// Names of types that are not issued are not dropped without a word.
func TestUnsupportedNames(t *testing.T) {
	dns := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("a.example")}
	for tag, want := range map[int]string{0: "otherName", 4: "directoryName", 8: "registeredID"} {
		other := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: tag < 8, Bytes: []byte{0x30, 0}}
		key := signertest.Key(t, "p256")
		r, err := pki.ParseRequest(request(t, key, func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{san(t, dns, other)}
		}))
		if err != nil {
			t.Fatal(err)
		}
		cert := signertest.NewCA(t, "CA").Issue(t, key, func(c *x509.Certificate) {
			c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{san(t, other, dns)}
		})
		for kind, n := range map[string]pki.Names{"request": pki.NamesOfRequest(r), "certificate": pki.NamesOf(cert)} {
			if len(n.DNSNames) != 1 || !slices.Equal(n.Unsupported, []string{want}) {
				t.Errorf("%s: %q, %q", kind, n.DNSNames, n.Unsupported)
			}
			if err := n.Check(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

func TestRefusedCertificates(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	issuer, _ := newCA(t, "p256", 0, now)
	other, _ := newCA(t, "p384", 0, now)
	good := func() pki.Template {
		return pki.Template{Profile: pki.Client, Names: pki.CommonName("app"), PublicKey: signertest.Key(t, "p256").Public(),
			Serial: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour)}
	}
	for name, c := range map[string]struct {
		change func(*pki.Issuer, *pki.Template)
		want   string
	}{
		"key of another CA":      {func(i *pki.Issuer, _ *pki.Template) { i.Key = other.Key }, "is not that of its certificate"},
		"longer than its CA":     {func(_ *pki.Issuer, t *pki.Template) { t.NotAfter = issuer.Certificate.NotAfter.Add(time.Second) }, "longer than that of its issuer"},
		"before its CA":          {func(_ *pki.Issuer, t *pki.Template) { t.NotBefore = issuer.Certificate.NotBefore.Add(-time.Second) }, "not valid before"},
		"after its CA":           {func(_ *pki.Issuer, t *pki.Template) { t.NotBefore = issuer.Certificate.NotAfter.Add(time.Second) }, "expired"},
		"ends before it begins":  {func(_ *pki.Issuer, t *pki.Template) { t.NotAfter = t.NotBefore }, "end before"},
		"CA below path length 0": {func(_ *pki.Issuer, t *pki.Template) { t.Profile = pki.Intermediate }, "path length"},
		"the name of its CA":     {func(_ *pki.Issuer, t *pki.Template) { t.Names = pki.NamesOf(issuer.Certificate) }, "name of its issuer"},
		"no subject":             {func(_ *pki.Issuer, t *pki.Template) { t.Names = pki.Names{DNSNames: []string{"a.example"}} }, "subject is empty"},
		"serial number 0":        {func(_ *pki.Issuer, t *pki.Template) { t.Serial = new(big.Int) }, "serial number"},
		"negative serial":        {func(_ *pki.Issuer, t *pki.Template) { t.Serial = big.NewInt(-1) }, "serial number"},
		"long serial":            {func(_ *pki.Issuer, t *pki.Template) { t.Serial = new(big.Int).Lsh(big.NewInt(1), 159) }, "serial number"},
		"no serial":              {func(_ *pki.Issuer, t *pki.Template) { t.Serial = nil }, "serial number"},
		"no key":                 {func(_ *pki.Issuer, t *pki.Template) { t.PublicKey = nil }, "not supported"},
		"issuer is no CA": {func(i *pki.Issuer, t *pki.Template) {
			c, err := pki.SelfSign(rand.Reader, i.Key, good())
			if err != nil {
				panic(err)
			}
			i.Certificate = c
		}, "is not a CA certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			i, template := issuer, good()
			c.change(&i, &template)
			cert, err := pki.Issue(rand.Reader, i, template)
			if cert != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %q", cert, err, c.want)
			}
		})
	}
	if _, err := pki.Issue(rand.Reader, issuer, good()); err != nil {
		t.Error(err)
	}
}

// A key whose token makes only PSS signatures signs with PSS, and one that
// makes none is refused.
func TestLimitedKeys(t *testing.T) {
	for _, c := range []struct {
		schemes []tls.SignatureScheme
		want    x509.SignatureAlgorithm
	}{
		{[]tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PSSWithSHA256}, x509.SHA256WithRSA},
		{[]tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384}, x509.SHA256WithRSAPSS},
		{[]tls.SignatureScheme{tls.PSSWithSHA384}, 0},
	} {
		key := &signertest.LimitedFake{Schemes: c.schemes}
		key.Key = signertest.Key(t, "rsa2048")
		der, err := pki.NewRequest(rand.Reader, key, pki.CommonName("app"))
		if c.want == 0 {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%v: %v", c.schemes, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if r, err := pki.ParseRequest(der); err != nil || r.SignatureAlgorithm != c.want {
			t.Errorf("%v: %v, %v", c.schemes, r, err)
		}
	}
}

func TestCompare(t *testing.T) {
	ca, other := signertest.NewCA(t, "CA"), signertest.NewCA(t, "other CA")
	key := signertest.Key(t, "p256")
	old := ca.Issue(t, key, nil)
	printable, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte(old.Subject.CommonName)}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ca     *signertest.CA
		change func(*x509.Certificate)
		want   []string
	}{
		"renewal":           {ca, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) }, nil},
		"subject":           {ca, func(c *x509.Certificate) { c.Subject.CommonName = "evil" }, []string{"subject", "DER of the subject"}},
		"encoded otherwise": {ca, func(c *x509.Certificate) { c.RawSubject = printable }, []string{"DER of the subject"}},
		"issuer":            {other, nil, []string{"issuer"}},
		"DNS name":          {ca, func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} }, []string{"DNS names"}},
		"directory name": {ca, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{san(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 0}})}
		}, []string{"other alternative names"}},
		"key usage":      {ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, []string{"key usage"}},
		"extended usage": {ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, []string{"extended key usage"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range pki.Compare(old, c.ca.Issue(t, key, c.change)) {
				got = append(got, d.What)
				if d.Old == d.New || d.String() == "" {
					t.Errorf("%v", d)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}, DNSNames: []string{"a.example"}}, signertest.Key(f, "p256"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(pemOf("CERTIFICATE REQUEST", der))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := pki.ParseRequest(data)
		if (r == nil) != errors.Is(err, pki.ErrRequest) {
			t.Fatalf("%v, %v", r, err)
		}
		if r != nil {
			_ = pki.NamesOfRequest(r).Check()
		}
	})
}
