// Command jwt prints a token of golang-jwt that a key in a device signs:
//
//	jwt KEY SUBJECT
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"io"
	"log"
	"math/big"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: jwt KEY SUBJECT")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, subject string, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	name := "ES256"
	if _, isRSA := key.Public().(*rsa.PublicKey); isRSA {
		name = "PS256"
	}
	token := jwt.NewWithClaims(methods[name], jwt.RegisteredClaims{Subject: subject, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))})
	text, err := token.SignedString(key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

// The methods of golang-jwt accept only the private keys of the standard library. These
// sign with any crypto.Signer, and verify as those do.
var methods = map[string]method{
	"RS256": {jwt.SigningMethodRS256, crypto.SHA256},
	"PS256": {jwt.SigningMethodPS256, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}},
	"ES256": {jwt.SigningMethodES256, crypto.SHA256},
}

type method struct {
	jwt.SigningMethod
	opts crypto.SignerOpts
}

func (m method) Sign(text string, key any) ([]byte, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, jwt.ErrInvalidKeyType
	}
	pub, isECDSA := s.Public().(*ecdsa.PublicKey)
	es, forECDSA := m.SigningMethod.(*jwt.SigningMethodECDSA)
	if isECDSA != forECDSA || isECDSA && pub.Curve.Params().BitSize != es.CurveBits { // nobody would accept the token
		return nil, jwt.ErrInvalidKey
	}
	sig, err := crypto.SignMessage(s, rand.Reader, []byte(text), m.opts)
	if err != nil || !isECDSA {
		return sig, err
	}
	var rs struct{ R, S *big.Int } // RFC 7518, section 3.4: both numbers, without DER
	if _, err := asn1.Unmarshal(sig, &rs); err != nil {
		return nil, err
	}
	size := (pub.Curve.Params().BitSize + 7) / 8
	return append(rs.R.FillBytes(make([]byte, size)), rs.S.FillBytes(make([]byte, size))...), nil
}
