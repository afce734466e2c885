// Package dropfolder obtains certificates through a folder that a machine and its CA
// share, such as one on a file server. No connection between the two is needed.
//
//	TOKEN.p7        the request, which the machine writes; see [renew.Request.Signed]
//	TOKEN.pem       the certificate and those of its issuers, which the CA writes
//	TOKEN.rejected  the reason why the CA refuses the request, one line of text
//
// A TOKEN is that of a [renew.Request], or another text of letters, digits, - and _.
// Each file appears whole. The machine removes its request once there is an answer,
// and leaves the answer: after an interruption it reads it again. Nothing removes
// answers, and requests that the machine gave up.
//
// Others can have the permission to write to the folder. They can disturb a renewal:
// remove files, put old ones back, and write refusals and wrong answers. They cannot
// obtain a certificate, because the key of the old certificate signs the request.
// [renew.Renewer] proves each certificate before it is used. They cannot make the
// machine take the certificate of another CA if the Check of [renew.Config] verifies it
// with a known certificate of the CA, or gets a session of a role with it. Otherwise
// they can, with a CA of the same name. Files are read only if they are regular and
// small, and nothing outside of the folder is read or written, whatever links are in it.
package dropfolder

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// DefaultInterval is how often a machine looks for an answer. For certificates that
// live only for hours, [renew.Renewer] looks more often.
const DefaultInterval = time.Minute

// Limits of answers, in bytes, and of the line that is shown, in characters.
const (
	maxCertificates = 1 << 20
	maxRejection    = 4 << 10
	maxShown        = 200
)

// A Way is the machine's end of a folder. It is safe for concurrent use.
type Way struct {
	Dir      string           // a folder that exists
	Interval time.Duration    // 0: DefaultInterval
	Now      func() time.Time // nil: time.Now
}

// Renew implements [renew.Way]. If there is no answer yet, the error is a
// [renew.WaitError].
func (w Way) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	f, err := Open(w.Dir)
	if err != nil {
		return nil, unreachable(err)
	}
	defer f.Close()
	if !isToken(r.Token) {
		return nil, fmt.Errorf("the token %.50q is not the name of a file", r.Token)
	}
	certs, err := f.answer(r.Token)
	if err == nil || errors.Is(err, renew.ErrRejected) {
		if err != nil && r.Expired(w.now()) {
			err = signer.WithHint(err, renew.HintExpired)
		}
		_ = f.root.Remove(r.Token + requestSuffix) // the answer says that it is not needed
		return certs, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := w.ask(ctx, f, r); err != nil {
		return nil, err
	}
	wait := w.Interval
	if wait == 0 {
		wait = DefaultInterval
	}
	return nil, signer.WithHint(&renew.WaitError{After: wait, Reason: fmt.Sprintf("the CA has not answered %s yet", filepath.Join(w.Dir, r.Token+requestSuffix))},
		"on the machine of the CA, answer the requests in the folder; then try again")
}

func (w Way) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}

func unreachable(err error) error {
	return signer.WithHint(fmt.Errorf("%w: %w", renew.ErrUnreachable, err), "check the name of the folder, and that it is mounted and that this user may write to it")
}

// ask writes the request, unless it is there.
func (w Way) ask(ctx context.Context, f *Folder, r renew.Request) error {
	if data, err := f.Request(r.Token); err == nil && isFor(data, r) {
		return nil // without another signature, for which a device may want a touch
	}
	message, err := r.Signed(ctx, w.now())
	if err != nil {
		return err
	}
	if err := f.write(r.Token+requestSuffix, message); err != nil {
		return unreachable(err)
	}
	return nil
}

// isFor reports whether a message is the signed request of r.
func isFor(message []byte, r renew.Request) bool {
	m, err := cms.Parse(message)
	chain := r.Old.Chain()
	return err == nil && len(chain) > 0 && bytes.Equal(m.Content, r.CSR) && m.Transaction == r.Token && m.Signer.Equal(chain[0])
}

// answer returns the certificates, or an error that wraps [renew.ErrRejected], or
// [fs.ErrNotExist] if there is no answer.
func (f *Folder) answer(token string) ([]*x509.Certificate, error) {
	name := token + issuedSuffix
	data, err := f.read(name, maxCertificates)
	if err == nil {
		certs, err := renew.ParsePEM(data)
		if err != nil {
			return nil, signer.WithHint(fmt.Errorf("%s %w", filepath.Join(f.dir, name), err), "if the file stays like this, remove it; the CA then answers again")
		}
		return certs, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err = f.read(token+rejectedSuffix, maxRejection)
	if err != nil {
		return nil, err
	}
	if reason := firstLine(string(data)); reason != "" {
		return nil, fmt.Errorf("%w: %s", renew.ErrRejected, reason)
	}
	return nil, renew.ErrRejected
}

// firstLine returns the first line that is not empty, printable and shortened.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.TrimSpace(line))
	if runes := []rune(line); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return line
}
