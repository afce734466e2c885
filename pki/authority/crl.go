package authority

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// CRL makes the next revocation list, which is valid for a period, stores it as
// crl.pem and returns it in PEM. It lists the certificates that are revoked,
// each until it has been in one list after its end (RFC 5280, section 3.3). Its
// number is higher than that of every list in the index, and than that of
// crl.pem, which can come from a newer copy of the folder. key is the key of the
// CA; other writers do not wait for its signature.
func (a *Authority) CRL(ctx context.Context, key signer.Signer, period time.Duration) ([]byte, error) {
	issuer, now := a.Issuer(ctx, key), a.opts.now()
	if err := issuer.CheckCRL(now); err != nil {
		return nil, err
	}
	next := now.Add(period).UTC().Truncate(time.Second)
	number, entries, err := a.beginCRL(ctx, next)
	if err != nil {
		return nil, err
	}
	der, err := pki.NewCRL(rand.Reader, issuer, number, entries, now, next)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemCRL, Bytes: der})
	return text, a.storeCRL(ctx, number, text)
}

// beginCRL takes the number of the next list and returns it with the entries.
func (a *Authority) beginCRL(ctx context.Context, next time.Time) (*big.Int, []pki.Revocation, error) {
	t, err := a.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer t.end()
	last := &t.state.number
	stored, err := a.storedNumber()
	if err != nil {
		return nil, nil, err
	}
	if stored.Cmp(last) > 0 {
		last = stored
	}
	number, entries := new(big.Int).Add(last, big.NewInt(1)), t.revocations()
	return number, entries, t.append(event{Kind: listed, Number: number.String(), NextUpdate: next})
}

// storeCRL writes crl.pem, unless another writer has stored a later list since.
func (a *Authority) storeCRL(ctx context.Context, number *big.Int, text []byte) error {
	t, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer t.end()
	if stored, err := a.storedNumber(); err != nil || stored.Cmp(number) > 0 {
		return err
	}
	return a.write(a.path(crlFile), text)
}

// storedNumber returns the number of the list in crl.pem, or 0.
func (a *Authority) storedNumber() (*big.Int, error) {
	switch list, err := a.readCRL(); {
	case errors.Is(err, fs.ErrNotExist):
		return new(big.Int), nil
	case err != nil:
		return nil, signer.WithHint(fmt.Errorf("%s: %w", a.path(crlFile), err), "put the list that was published last there, or remove the file")
	default:
		return list.Number, nil
	}
}

// revocations returns the entries of the next list.
func (t *turn) revocations() (list []pki.Revocation) {
	for _, serial := range t.state.serials {
		c := t.state.certificates[serial]
		if c.Revoked.IsZero() || c.NotAfter.Before(t.state.listedAt) {
			continue
		}
		n, _ := new(big.Int).SetString(serial, 16) // a serial of the index is a number
		list = append(list, pki.Revocation{Serial: n, Time: c.Revoked, Reason: c.Reason})
	}
	return list
}

// readCRL returns the list in crl.pem, which the CA signed. The error wraps
// [fs.ErrNotExist] if there is none.
func (a *Authority) readCRL() (*x509.RevocationList, error) {
	data, err := readFile(a.path(crlFile))
	if err != nil {
		return nil, err
	}
	list, err := parseCRL(data)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(list.RawIssuer, a.chain[0].RawSubject) || list.CheckSignatureFrom(a.chain[0]) != nil:
		return nil, errors.New("the revocation list is not signed by this CA")
	case list.Number == nil:
		return nil, errors.New("the revocation list has no CRL number")
	}
	return list, nil
}

// parseCRL parses a revocation list in PEM or DER, or one of these in base64, as
// the AWS CLI prints it.
func parseCRL(data []byte) (*x509.RevocationList, error) {
	if text, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil {
		data = text
	}
	der := data
	if bytes.Contains(data, []byte("-----BEGIN")) {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != pemCRL || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("it does not contain exactly one revocation list in PEM")
		}
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, errors.New("the revocation list is neither PEM nor DER, or is damaged")
	}
	return list, nil
}

// LastCRL returns the number and the next update of the last revocation list
// that was begun, or zero values.
func (a *Authority) LastCRL() (number *big.Int, nextUpdate time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return nil, time.Time{}, err
	}
	return new(big.Int).Set(&a.state.number), a.state.nextUpdate, nil
}
