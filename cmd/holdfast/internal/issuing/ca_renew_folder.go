package issuing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/signer"
)

// An answer is an element of the output of ca issue --renew-folder --json.
type answer struct {
	Request  string `json:"request"` // path of the file
	Serial   string `json:"serial,omitempty"`
	Subject  string `json:"subject,omitempty"`
	NotAfter string `json:"not_after,omitempty"`
	Refused  string `json:"refused,omitempty"` // the reason
	Failed   string `json:"failed,omitempty"`  // the reason; the next run tries again
	Left     string `json:"left,omitempty"`    // the reason; another CA can answer it
}

func (w answer) String() string {
	path := front.OneLine(w.Request)
	switch {
	case w.Refused != "":
		return fmt.Sprintf("refused %s: %s", path, w.Refused)
	case w.Failed != "":
		return fmt.Sprintf("failed %s: %s", path, w.Failed)
	case w.Left != "":
		return fmt.Sprintf("left %s: %s", path, w.Left)
	}
	return fmt.Sprintf("issued %s: %s (serial number %s), expires at %s", path, front.OneLine(w.Subject), w.Serial, w.NotAfter)
}

// A desk answers the requests in a folder.
type desk struct {
	ca      *authority.Authority
	folder  *dropfolder.Folder
	answers []answer
	refused int
	failure error // the first one
}

// renewFolder answers the requests in a folder that have no answer. The key of the CA
// is opened once, and not at all if no certificate is to be issued. A request that
// fails does not stop the others.
func (f *issueFlags) renewFolder(ctx context.Context, a front.App, ca *authority.Authority, settings config, terms authority.Renewal) error {
	folder, err := dropfolder.Open(f.renewal.folder)
	if err != nil {
		return fmt.Errorf("--renew-folder: %w", err)
	}
	defer folder.Close()
	tokens, err := folder.Pending()
	if err != nil {
		return err
	}
	d := &desk{ca: ca, folder: folder, answers: []answer{}} // not nil: [] in JSON
	type open struct {
		token string
		authority.Renewal
	}
	var waiting []open
	for _, token := range tokens {
		data, err := folder.Request(token)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the machine has withdrawn it
			continue
		case err != nil:
			d.reject(token, err)
			continue
		}
		r, c, err := f.find(ca, terms, data)
		if err == nil && c == nil {
			waiting = append(waiting, open{token, r})
			continue
		}
		d.answer(token, c, err)
	}
	if len(waiting) > 0 {
		err = f.key.with(ctx, a, settings, f.dir, func(ctx context.Context, key signer.Signer) error {
			for _, w := range waiting {
				c, err := ca.Renew(ctx, key, w.Renewal)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				d.answer(w.token, c, err)
			}
			return nil
		})
	}
	if err := d.print(a, f.json); err != nil {
		return err
	}
	return d.result(err)
}

// answer writes the certificate or the refusal to the folder. A request to another CA
// stays without an answer, because that CA may read the same folder.
func (d *desk) answer(token string, c *x509.Certificate, err error) {
	path := d.folder.Path(token)
	if err == nil {
		err = d.folder.Issue(token, chainPEM(c, d.ca.Chain()))
	}
	switch {
	case errors.Is(err, authority.ErrForeign):
		d.answers = append(d.answers, answer{Request: path, Left: reasonOf(path, err)})
	case isRefusal(err):
		d.reject(token, err)
	case err != nil:
		d.fail(path, err)
	default:
		d.answers = append(d.answers, answer{Request: path, Serial: serialOf(c), Subject: pki.NamesOf(c).SubjectText(), NotAfter: stamp(c.NotAfter)})
	}
}

func (d *desk) reject(token string, err error) {
	path := d.folder.Path(token)
	reason := reasonOf(path, err)
	if err := d.folder.Reject(token, reason); err != nil {
		d.fail(path, err)
		return
	}
	d.refused++
	d.answers = append(d.answers, answer{Request: path, Refused: reason})
}

// reasonOf returns the text of an error without what the reader knows.
func reasonOf(path string, err error) string {
	reason := err.Error()
	for _, prefix := range []string{path, authority.ErrRefused.Error()} {
		reason = strings.TrimPrefix(reason, prefix+": ")
	}
	return front.OneLine(reason)
}

func (d *desk) fail(path string, err error) {
	d.answers = append(d.answers, answer{Request: path, Failed: front.OneLine(err.Error())})
	if d.failure == nil {
		d.failure = err
	}
}

func (d *desk) print(a front.App, asJSON bool) error {
	if asJSON {
		return front.WriteJSON(a.Stdout, d.answers)
	}
	var b strings.Builder
	for _, w := range d.answers {
		fmt.Fprintln(&b, w)
	}
	_, err := a.Stdout.Write([]byte(b.String()))
	return err
}

// result returns the error of the command: err, which ended the work, or that of the
// first request that failed, or that requests were refused.
func (d *desk) result(err error) error {
	switch {
	case err != nil:
		return err
	case d.failure != nil:
		return d.failure
	case d.refused > 0:
		return refused(signer.WithHint(fmt.Errorf("the CA refused %s", count(d.refused, "request")), "the files TOKEN.rejected in the folder contain the reasons"))
	}
	return nil
}
