package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Check reads the whole folder and returns a problem for each file that
// contradicts the index. It writes nothing.
func (a *Authority) Check() (problems []error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.refresh(); err != nil {
		return []error{err}
	}
	files, err := os.ReadDir(filepath.Join(a.dir, issuedDir))
	if err != nil {
		return []error{err}
	}
	for _, f := range files {
		serial, ok := strings.CutSuffix(f.Name(), ".pem")
		if strings.HasPrefix(f.Name(), ".holdfast-") {
			continue // of a writer that was killed, or is at work
		}
		name := filepath.Join(a.dir, issuedDir, f.Name())
		if entry := a.index.certificates[serial]; !ok || entry == nil {
			problems = append(problems, fmt.Errorf("%s: the index does not contain it", name))
		} else if err := a.checkCertificate(entry); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	if err := a.checkCRL(); err != nil {
		problems = append(problems, fmt.Errorf("%s: %w", filepath.Join(a.dir, crlFile), err))
	}
	return problems
}

// checkCertificate compares a certificate file with its entry.
func (a *Authority) checkCertificate(entry *Certificate) error {
	c, err := a.Certificate(entry.Serial)
	if err != nil {
		return err
	}
	key := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	switch {
	case serialText(c.SerialNumber) != entry.Serial:
		return fmt.Errorf("its serial number is %x", c.SerialNumber)
	case hex.EncodeToString(key[:]) != entry.Key:
		return errors.New("it is for another key than the index says")
	case !c.NotAfter.Equal(entry.NotAfter):
		return errors.New("it ends at another time than the index says")
	case c.Subject.String() != entry.Subject:
		return errors.New("it has another subject than the index says")
	}
	if err := c.CheckSignatureFrom(a.chain[0]); err != nil {
		return errors.New("this CA did not sign it")
	}
	return nil
}

func (a *Authority) checkCRL() error {
	data, err := os.ReadFile(filepath.Join(a.dir, crlFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // none was made, or it was interrupted
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return errors.New("is not PEM")
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	switch {
	case err != nil:
		return errors.New("is damaged")
	case list.CheckSignatureFrom(a.chain[0]) != nil:
		return errors.New("this CA did not sign it")
	case list.Number == nil || list.Number.Cmp(&a.index.number) > 0:
		return fmt.Errorf("has the number %v, but the index only %v", list.Number, &a.index.number)
	}
	for _, e := range list.RevokedCertificateEntries {
		if c := a.index.certificates[serialText(e.SerialNumber)]; c == nil || c.Revoked.IsZero() {
			return fmt.Errorf("revokes the serial number %x, which the index does not", e.SerialNumber)
		}
	}
	return nil
}

// LastCRL returns the number and the next update of the last revocation list
// that was begun, or zero values.
func (a *Authority) LastCRL() (number *big.Int, nextUpdate time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.refresh(); err != nil {
		return nil, time.Time{}, err
	}
	return new(big.Int).Set(&a.index.number), a.index.nextUpdate, nil
}
