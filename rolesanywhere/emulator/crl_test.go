package emulator

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"
)

func TestRevocation(t *testing.T) {
	root := newRoot(t, caTemplate("Root"))
	template := caTemplate("Intermediate")
	template.SerialNumber = big.NewInt(7)
	inter := root.issue(t, template)
	client := inter.issue(t, leafTemplate("client"))
	const leafSerial, interSerial = 0xabc, 7
	leafRevoked := fmt.Sprintf(msgRevoked, "0abc", inter.cert.Subject)
	interRevoked := fmt.Sprintf(msgRevoked, "07", root.cert.Subject)

	unrelated := newRoot(t, caTemplate("Unrelated"))
	impostor := newRoot(t, template) // has the intermediate's name, not its key
	noCRLSign := caTemplate("No cRLSign")
	noCRLSign.KeyUsage = x509.KeyUsageCertSign
	noCRLSignCA := root.issue(t, noCRLSign)
	noCRLSignClient := noCRLSignCA.issue(t, leafTemplate("client"))
	twin := certKey{root.certify(t, caTemplate("Twin"), inter.key.Public()), inter.key}
	old := inter.revoke(t, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: testNow.Add(-48 * time.Hour), NextUpdate: testNow.Add(-24 * time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(leafSerial), RevocationTime: testNow}},
	})
	toPEM := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }

	for _, tt := range []struct {
		name    string
		crls    [][]byte
		client  certKey
		chain   []*x509.Certificate
		message string // "": not refused
	}{
		{"none", nil, client, []*x509.Certificate{inter.cert}, ""},
		{"leaf", [][]byte{inter.crl(t, leafSerial)}, client, []*x509.Certificate{inter.cert}, leafRevoked},
		{"leaf, PEM", [][]byte{toPEM(inter.crl(t, 1, leafSerial))}, client, []*x509.Certificate{inter.cert}, leafRevoked},
		{"intermediate", [][]byte{root.crl(t, interSerial)}, client, []*x509.Certificate{inter.cert}, interRevoked},
		{"second list", [][]byte{root.crl(t, 99), inter.crl(t, leafSerial)}, client, []*x509.Certificate{inter.cert}, leafRevoked},
		{"past its next update", [][]byte{old}, client, []*x509.Certificate{inter.cert}, leafRevoked},
		{"issuer without cRLSign", [][]byte{noCRLSignCA.crl(t, leafSerial)}, noCRLSignClient, []*x509.Certificate{noCRLSignCA.cert}, fmt.Sprintf(msgRevoked, "0abc", noCRLSignCA.cert.Subject)},
		{"empty list", [][]byte{inter.crl(t)}, client, []*x509.Certificate{inter.cert}, ""},
		{"other serial numbers", [][]byte{inter.crl(t, 1, 2, 3), root.crl(t, 1, leafSerial)}, client, []*x509.Certificate{inter.cert}, ""},
		{"of an unrelated CA", [][]byte{unrelated.crl(t, leafSerial, interSerial)}, client, []*x509.Certificate{inter.cert}, ""},
		{"of a CA with the issuer's name and another key", [][]byte{impostor.crl(t, leafSerial)}, client, []*x509.Certificate{inter.cert}, ""},
		{"of a CA with another name and the issuer's key", [][]byte{twin.crl(t, leafSerial)}, client, []*x509.Certificate{inter.cert, twin.cert}, ""},
		{"of a CA that issued no certificate of the chain", [][]byte{noCRLSignCA.crl(t, leafSerial)}, client, []*x509.Certificate{inter.cert, noCRLSignCA.cert}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &testEnv{ca: root, client: tt.client}
			w.start(t, Config{TrustAnchors: []TrustAnchor{{Certificates: root.pem(), CRLs: tt.crls}}})
			a := w.do(t, call{chain: append([]*x509.Certificate{tt.client.cert}, tt.chain...)})
			if tt.message == "" {
				a.session(t)
				return
			}
			checkRefused(t, a, http.StatusForbidden, codeAccessDenied, tt.message)
		})
	}
}

// An intermediate that one root has revoked may have a certificate from another
// root. The remaining path is then valid.
func TestRevocationOfOnePath(t *testing.T) {
	first, second := newRoot(t, caTemplate("First")), newRoot(t, caTemplate("Second"))
	inter := first.issue(t, caTemplate("Intermediate"))
	cross := second.certify(t, caTemplate("Intermediate"), inter.key.Public())
	w := &testEnv{ca: first, client: inter.issue(t, leafTemplate("client"))}
	w.start(t, Config{TrustAnchors: []TrustAnchor{{
		Certificates: append(first.pem(), second.pem()...),
		CRLs:         [][]byte{first.crl(t, 1)},
	}}})
	a := w.do(t, call{chain: []*x509.Certificate{w.client.cert, inter.cert}})
	checkRefused(t, a, http.StatusForbidden, codeAccessDenied, fmt.Sprintf(msgRevoked, "01", first.cert.Subject))
	w.do(t, call{chain: []*x509.Certificate{w.client.cert, inter.cert, cross}}).session(t)
}

// A CRL applies only to its trust anchor, even if another has the same CA.
func TestRevocationOfOneAnchor(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.start(t, Config{TrustAnchors: []TrustAnchor{
		{Certificates: w.ca.pem(), CRLs: [][]byte{w.ca.crl(t, 0xabc)}},
		{Certificates: w.ca.pem()},
	}})
	if a := w.do(t, call{}); a.status != http.StatusForbidden {
		t.Errorf("status is %d", a.status)
	}
	w.do(t, call{body: body("trustAnchorArn", DefaultTrustAnchorARN(DefaultRegion, DefaultAccount, 2))}).session(t)
}

func TestParseCRLErrors(t *testing.T) {
	ca := newRoot(t, caTemplate("Root"))
	rsaCA := newRSARoot(t)
	critical := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	list := func(change func(*x509.RevocationList)) []byte {
		template := &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: testNow, NextUpdate: testNow.Add(time.Hour)}
		change(template)
		return ca.revoke(t, template)
	}
	for name, b := range map[string][]byte{
		"empty":       nil,
		"garbage":     []byte("garbage"),
		"certificate": ca.pem(),
		"too large":   append(bytes.Repeat([]byte("\n"), maxCRL), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: ca.crl(t)})...),
		"SHA-1":       rsaCA.revoke(t, &x509.RevocationList{SignatureAlgorithm: x509.SHA1WithRSA, Number: big.NewInt(2), ThisUpdate: testNow, NextUpdate: testNow}),
		"two blocks": append(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: ca.crl(t)}),
			pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: ca.crl(t)})...),
		"delta": list(func(l *x509.RevocationList) { l.ExtraExtensions = critical }),
		"indirect": list(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: testNow, ExtraExtensions: critical}}
		}),
	} {
		if _, err := parseCRL(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
