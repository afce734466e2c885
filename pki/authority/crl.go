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
// each until it has been in one list after its end (RFC 5280, section 3.3), and
// those in crl.pem, which can come from a newer copy of the folder. Its number is
// higher than that of every list in the index, and than that of crl.pem. key is
// the key of the CA; other writers do not wait for its signature.
func (a *Authority) CRL(ctx context.Context, key signer.Signer, period time.Duration) ([]byte, error) {
	issuer, now := a.Issuer(ctx, key), a.opts.now()
	if err := issuer.CheckCRL(now); err != nil {
		return nil, err
	}
	next := now.Add(period).UTC().Truncate(time.Second)
	if !next.After(now) {
		return nil, errors.New("the revocation list would expire at once")
	}
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

// beginCRL takes the number of the next list and returns it with the entries. The
// index first gets what it lacks of the last list, so that no entry is lost.
func (a *Authority) beginCRL(ctx context.Context, next time.Time) (*big.Int, []pki.Revocation, error) {
	t, err := a.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer t.end()
	last, err := t.lastCRL()
	if err != nil {
		return nil, nil, err
	}
	until := earlier(t.state.listedAt, a.opts.now()) // a clock can have been wrong
	if last != nil {
		err = t.adoptCRL(last)
	}
	if err != nil {
		return nil, nil, err
	}
	number, entries := new(big.Int).Add(&t.state.number, big.NewInt(1)), t.revocations(until)
	if !isNumber(number) {
		return nil, nil, lastNumber()
	}
	return number, entries, t.append(event{Kind: listed, Number: number.String(), NextUpdate: next})
}

// lastNumber returns the error of a CA that can make no more lists.
func lastNumber() error {
	return signer.WithHint(errors.New("the last revocation list has the highest possible CRL number"), "replace the CA; docs/ca.md describes how")
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// storeCRL writes crl.pem, unless another writer has stored a later list since.
func (a *Authority) storeCRL(ctx context.Context, number *big.Int, text []byte) error {
	t, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer t.end()
	if last, err := t.lastCRL(); err != nil || last != nil && last.Number.Cmp(number) > 0 {
		return err
	}
	return a.write(a.path(crlFile), text)
}

// lastCRL returns the list in crl.pem, or nil if there is none. All that it
// says can be in the index.
func (t *turn) lastCRL() (*x509.RevocationList, error) {
	list, err := t.readCRL()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		for _, m := range t.state.missing(list) {
			if !m.repairable {
				err = m.err
			}
		}
	}
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", t.path(crlFile), err), "put the list that was published last there, or remove the file")
	}
	return list, nil
}

// revocations returns the entries of the next list. It leaves out certificates that
// had expired by then, which was when the last list was made.
func (t *turn) revocations(then time.Time) (list []pki.Revocation) {
	for _, serial := range t.state.serials {
		c := t.state.certificates[serial]
		if c.Revoked.IsZero() || c.NotAfter.Before(then) {
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
