package awssdk_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
)

// A world is what the examples talk to.
type world struct {
	aws                  *httptest.Server // an emulator
	trustAnchor, profile string
	roles                []string
	storage              *storage
}

func (w world) Close() {
	w.aws.Close()
	w.storage.Close()
}

// open returns a key and a world whose trust anchor is the CA of its certificate.
func open() (signer.Signer, world) {
	caKey, key := newKey(), newKey()
	ca := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, KeyUsage: x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true,
	}, nil, caKey.Public(), caKey)
	leaf := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "app"}, KeyUsage: x509.KeyUsageDigitalSignature}, ca, key.Public(), caKey)
	handler := must(emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})}},
		Roles: []emulator.Role{
			{ARN: "arn:aws:iam::111122223333:role/first"},
			{ARN: "arn:aws:iam::444455556666:role/second"},
			{ARN: "arn:aws:iam::777788889999:role/third"},
		},
	}))
	return must(signer.Bind(signer.FromKey(key), []*x509.Certificate{leaf}, time.Now())), world{
		aws:         httptest.NewServer(handler),
		trustAnchor: handler.TrustAnchorARNs()[0], profile: handler.ProfileARNs()[0], roles: handler.RoleARNs(),
		storage: startStorage(),
	}
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func issue(template, parent *x509.Certificate, pub crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, pub, by))))
}

// A storage is a server with one bucket. It records how requests are signed.
type storage struct {
	*httptest.Server
	authorization string
}

func startStorage() *storage {
	s := &storage{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.authorization = r.Header.Get("Authorization")
		_, _ = io.WriteString(w, "<ListAllMyBucketsResult><Buckets><Bucket><Name>backups</Name></Bucket></Buckets></ListAllMyBucketsResult>")
	}))
	return s
}

var credential = regexp.MustCompile(`^(\S+) Credential=ASIA\w+/\d{8}/([^,]+),`)

func (s *storage) signedWith() string {
	return strings.Join(credential.FindStringSubmatch(s.authorization)[1:], ", a temporary key, ")
}

// show prints whose credentials cfg has, without the name of the session.
func show(cfg aws.Config) {
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println((*who.Arn)[:strings.LastIndexByte(*who.Arn, '/')+1])
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
