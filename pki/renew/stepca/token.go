package stepca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for signer.SignMessage
	_ "crypto/sha512"
	"crypto/tls"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// tokenLife is how long a token for a renewal is valid.
const tokenLife = 5 * time.Minute

// maxToken bounds a one-time token, in bytes. One that contains a chain of
// certificates has some KiB.
const maxToken = 64 << 10

// isToken reports whether s looks like a signed token in compact form (RFC 7515,
// section 3.1).
func isToken(s string) bool {
	parts := strings.Split(s, ".")
	return len(s) <= maxToken && len(parts) == 3 && !slices.ContainsFunc(parts, func(part string) bool {
		_, err := base64.RawURLEncoding.Strict().DecodeString(part)
		return err != nil || part == ""
	})
}

// renewalToken returns the token that step-ca accepts instead of TLS client
// authentication, also for an expired certificate. The key of the certificate
// signs it.
func renewalToken(ctx context.Context, s signer.Signer, audience string, now time.Time) (string, error) {
	a, err := algorithmOf(s)
	if err != nil {
		return "", err
	}
	var chain []string // standard base64 of DER, as in x5c (RFC 7515, section 4.1.6)
	for _, c := range s.Chain() {
		chain = append(chain, base64.StdEncoding.EncodeToString(c.Raw))
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	text, err := encodeParts(map[string]any{"alg": a.name, "typ": "JWT", "x5cInsecure": chain}, map[string]any{
		"iss": "step-ca-client/1.0", "aud": audience, "sub": s.Chain()[0].Subject.CommonName, "jti": hex.EncodeToString(id),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	sig, err := signer.SignMessage(ctx, s, rand.Reader, []byte(text), a.opts)
	if err != nil {
		return "", err
	}
	if a.coordinate > 0 {
		if sig, err = concatenated(sig, a.coordinate); err != nil {
			return "", err
		}
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func encodeParts(parts ...any) (string, error) {
	var encoded []string
	for _, p := range parts {
		data, err := json.Marshal(p)
		if err != nil {
			return "", err
		}
		encoded = append(encoded, base64.RawURLEncoding.EncodeToString(data))
	}
	return strings.Join(encoded, "."), nil
}

// An algorithm is one of RFC 7518, section 3.1.
type algorithm struct {
	name       string
	opts       crypto.SignerOpts
	coordinate int // of ECDSA, in bytes; 0 for RSA
}

var rs256 = algorithm{"RS256", crypto.SHA256, 0}

var ps256 = algorithm{"PS256", &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}, 0}

var ecdsaAlgorithms = []struct {
	curve func() elliptic.Curve
	algorithm
}{
	{elliptic.P256, algorithm{"ES256", crypto.SHA256, 32}},
	{elliptic.P384, algorithm{"ES384", crypto.SHA384, 48}},
	{elliptic.P521, algorithm{"ES512", crypto.SHA512, 66}},
}

// algorithmOf returns an algorithm that s supports.
func algorithmOf(s signer.Signer) (algorithm, error) {
	switch pub := s.Public().(type) {
	case *ecdsa.PublicKey:
		for _, a := range ecdsaAlgorithms {
			if a.curve() == pub.Curve {
				return a.algorithm, nil
			}
		}
	case *rsa.PublicKey:
		l, limited := s.(signer.SchemeLimiter)
		switch {
		case !limited || slices.Contains(l.SignatureSchemes(), tls.PKCS1WithSHA256):
			return rs256, nil
		case slices.Contains(l.SignatureSchemes(), tls.PSSWithSHA256):
			return ps256, nil
		}
	}
	return algorithm{}, fmt.Errorf("the key (%s) signs no token: %w", signer.DescribeKey(s.Public()), errors.ErrUnsupported)
}

// concatenated converts an ECDSA signature from DER to the form of RFC 7518,
// section 3.4.
func concatenated(der []byte, coordinate int) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || !fits(sig.R, coordinate) || !fits(sig.S, coordinate) {
		return nil, errors.New("the key made an invalid signature")
	}
	out := make([]byte, 2*coordinate)
	sig.R.FillBytes(out[:coordinate])
	sig.S.FillBytes(out[coordinate:])
	return out, nil
}

func fits(n *big.Int, size int) bool { return n.Sign() > 0 && n.BitLen() <= 8*size }
