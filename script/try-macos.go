//go:build ignore

// try-macos has the commands that script/try-macos needs in addition to the
// tools of macOS:
//
//	make DIR NAME   create a CA (ca.pem, ca.key) and an identity with the common
//	                name NAME (identity.p12, RSA, password "try") in DIR, valid
//	                for one day
//	list            list the identities in the keychains: reference, key, subject
//	sign REF        sign with each algorithm that the key supports, and verify
//	issue REF DIR   print a certificate for the key, issued by the CA in DIR
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/keychain"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "try-macos:", err)
		if hint := signer.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "make":
		return makeIdentity(args[1], args[2])
	case len(args) == 1 && args[0] == "list":
		return list(ctx)
	case len(args) == 2 && args[0] == "sign":
		return sign(ctx, args[1])
	case len(args) == 3 && args[0] == "issue":
		return issue(ctx, args[1], args[2])
	}
	return errors.New("usage: make DIR NAME, list, sign REF, issue REF DIR")
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func makeIdentity(dir, name string) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := template(name + " CA")
	ca.IsCA, ca.KeyUsage, ca.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template(name), ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	// On older versions of macOS, security import supports no other encryption.
	p12, err := pkcs12.LegacyDES.Encode(key, cert, nil, "try")
	if err != nil {
		return err
	}
	caKeyDER, err := x509.MarshalPKCS8PrivateKey(caKey)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"ca.pem":       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		"ca.key":       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: caKeyDER}),
		"identity.p12": p12,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func list(ctx context.Context) error {
	ref, err := keystore.ParseRef("keychain:")
	if err != nil {
		return err
	}
	entries, err := keychain.Backend{}.List(ctx, ref, keystore.Call{})
	for _, e := range entries {
		fmt.Printf("%s\t%s\t%s\n", e.Ref, signer.DescribeKey(e.Certificate.PublicKey), e.Certificate.Subject)
	}
	return err
}

// algorithms maps TLS signature schemes to the parameters of Sign.
var algorithms = map[tls.SignatureScheme]struct {
	hash crypto.Hash
	pss  bool
}{
	tls.PKCS1WithSHA256: {crypto.SHA256, false}, tls.PKCS1WithSHA384: {crypto.SHA384, false}, tls.PKCS1WithSHA512: {crypto.SHA512, false},
	tls.PSSWithSHA256: {crypto.SHA256, true}, tls.PSSWithSHA384: {crypto.SHA384, true}, tls.PSSWithSHA512: {crypto.SHA512, true},
	tls.ECDSAWithP256AndSHA256: {crypto.SHA256, false}, tls.ECDSAWithP384AndSHA384: {crypto.SHA384, false}, tls.ECDSAWithP521AndSHA512: {crypto.SHA512, false},
}

func open(ctx context.Context, text string) (signer.Signer, error) {
	ref, err := keystore.ParseRef(text)
	if err != nil {
		return nil, err
	}
	return all.New().Open(ctx, ref, keystore.Options{})
}

func sign(ctx context.Context, ref string) (err error) {
	key, err := open(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, key.Close()) }()
	l, ok := key.(signer.SchemeLimiter)
	if !ok {
		return errors.New("the key does not report its signature schemes")
	}
	for _, scheme := range l.SignatureSchemes() {
		algorithm := algorithms[scheme]
		digest := map[crypto.Hash]func() []byte{
			crypto.SHA256: func() []byte { d := sha256.Sum256([]byte("try")); return d[:] },
			crypto.SHA384: func() []byte { d := sha512.Sum384([]byte("try")); return d[:] },
			crypto.SHA512: func() []byte { d := sha512.Sum512([]byte("try")); return d[:] },
		}[algorithm.hash]()
		var opts crypto.SignerOpts = algorithm.hash
		if algorithm.pss {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: algorithm.hash}
		}
		start := time.Now()
		sig, err := key.Sign(rand.Reader, digest, opts)
		if err != nil {
			return fmt.Errorf("%v: %w", scheme, err)
		}
		if err := verify(key.Public(), digest, sig, opts); err != nil {
			return fmt.Errorf("%v: %w", scheme, err)
		}
		fmt.Printf("%v: signature verified (%v)\n", scheme, time.Since(start).Round(time.Millisecond))
	}
	return nil
}

func verify(pub crypto.PublicKey, digest, sig []byte, opts crypto.SignerOpts) error {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(pub, pss.Hash, digest, sig, pss)
		}
		return rsa.VerifyPKCS1v15(pub, opts.HashFunc(), digest, sig)
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(pub, digest, sig) {
			return nil
		}
	}
	return errors.New("signature verification failed")
}

func issue(ctx context.Context, ref, dir string) error {
	key, err := open(ctx, ref)
	if err != nil {
		return err
	}
	defer key.Close()
	id, err := keystore.ParseIdentity(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	ca, err := all.New().OpenIdentity(ctx, id, keystore.Options{})
	if err != nil {
		return err
	}
	defer ca.Close()
	der, err := x509.CreateCertificate(rand.Reader, template("holdfast-try"), ca.Chain()[0], key.Public(), ca)
	if err != nil {
		return err
	}
	return pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}
