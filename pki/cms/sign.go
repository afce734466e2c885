package cms

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// pemType is the label of a message in PEM (RFC 7468, section 9).
const pemType = "CMS"

// Sign returns a message in PEM with content, which key signs at the time now. The
// message contains the certificates of key, of which there must be one. transaction
// identifies the transaction of which the message is a part; "": none. Sign borrows
// its arguments; ctx bounds the signature.
func Sign(ctx context.Context, key signer.Signer, content []byte, transaction string, now time.Time) ([]byte, error) {
	chain := key.Chain()
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	if transaction != "" && !isTransaction(transaction) {
		return nil, fmt.Errorf("the transaction identifier %.70q does not consist of at most %d letters, digits and hyphens", transaction, maxTransaction)
	}
	c, err := choose(key)
	if err != nil {
		return nil, err
	}
	attributes, err := newAttributes(c.hash, content, transaction, now)
	if err != nil {
		return nil, err
	}
	signed, err := signedBytes(attributes)
	if err != nil {
		return nil, err
	}
	signature, err := signer.SignMessage(ctx, key, rand.Reader, signed, c.opts)
	if err != nil {
		return nil, err
	}
	id := pkix.AlgorithmIdentifier{Algorithm: idsOf(c.hash).id}
	data := signedData{
		Version: version, DigestAlgorithms: []pkix.AlgorithmIdentifier{id},
		Content: encapsulated{oidData, content},
		Signers: []signerInfo{{version, signerName{asn1.RawValue{FullBytes: chain[0].RawIssuer}, chain[0].SerialNumber}, id, attributes, c.algorithm, signature}},
	}
	for _, cert := range chain {
		data.Certificates = append(data.Certificates, asn1.RawValue{FullBytes: cert.Raw})
	}
	der, err := asn1.Marshal(contentInfo{oidSignedData, data})
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func newAttributes(hash crypto.Hash, content []byte, transaction string, now time.Time) (list []attribute, err error) {
	type pair struct {
		id    asn1.ObjectIdentifier
		value any
	}
	pairs := []pair{{oidContentType, oidData}, {oidSigningTime, now.UTC()}, {oidMessageDigest, digest(hash, content)}}
	if transaction != "" {
		pairs = append(pairs, pair{oidTransaction, transaction})
	}
	for _, a := range pairs {
		der, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, err
		}
		list = append(list, attribute{a.id, []asn1.RawValue{{FullBytes: der}}})
	}
	return list, nil
}

// signedBytes returns what is signed: the DER of the attributes as a SET OF (RFC
// 5652, section 5.4).
func signedBytes(attributes []attribute) ([]byte, error) {
	return asn1.MarshalWithParams(attributes, "set")
}

func digest(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}
