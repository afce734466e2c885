package issuing

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// command returns a command that can be pasted into a shell.
func command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = front.OneLine(front.ShellQuote(w))
	}
	return strings.Join(quoted, " ")
}

// command returns a command of this CA that can be pasted into a shell.
func (f *folder) command(name string, words ...string) string {
	return command(append([]string{"holdfast", "ca", name, "--dir", f.dir}, words...)...)
}

// nameArguments returns the flags of ca issue for names.
func nameArguments(n pki.Names) []string {
	args := []string{"--subject", n.SubjectText()}
	for _, name := range n.DNSNames {
		args = append(args, "--dns", name)
	}
	for _, u := range n.URIs {
		args = append(args, "--uri", u.String())
	}
	for _, ip := range n.IPAddresses {
		args = append(args, "--ip", ip.String())
	}
	for _, email := range n.EmailAddresses {
		args = append(args, "--email", email)
	}
	return args
}

// issueCommand returns the command that issues a certificate with these names for
// the request in FILE.
func issueCommand(n pki.Names, extra ...string) string {
	words := append([]string{"holdfast", "ca", "issue", "--csr", "FILE"}, nameArguments(n)...)
	return command(append(words, extra...)...)
}

// hintOf adds a hint to an error of the folder dir of a CA that has none.
func hintOf(dir string, err error) error {
	var none *authority.FolderError
	var path *fs.PathError
	hint := ""
	switch {
	case err == nil || signer.Hint(err) != "":
		return err
	case errors.As(err, &none) && isCA("."):
		hint = "the current folder is that of a CA: add --dir ."
	case errors.As(err, &none):
		hint = "name the folder of the CA with --dir"
	case errors.Is(err, authority.ErrIndex), errors.As(err, &path) && filepath.Dir(path.Path) == filepath.Clean(dir) && errors.Is(err, fs.ErrNotExist):
		hint = "restore the folder from a backup; docs/ca.md describes how"
	}
	if hint == "" {
		return err
	}
	return signer.WithHint(err, hint)
}

func isCA(dir string) bool {
	_, err := authority.Open(dir, authority.Options{})
	var none *authority.FolderError
	return !errors.As(err, &none)
}

// parseSerial returns the digits of --serial: with or without 0x and colons.
func (f *folder) parseSerial(text string) (string, error) {
	digits := strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(text, ":", "")), "0x")
	if strings.Trim(digits, "0123456789abcdef") != "" || text != "" && digits == "" {
		return "", signer.WithHint(front.Usagef("--serial %q is not a hexadecimal number", keystore.Excerpt(text)), "show the serial numbers with: "+f.command("list"))
	}
	return digits, nil
}

// find returns the entry whose serial number begins with digits.
func (f *folder) find(ca *authority.Authority, digits string) (authority.Certificate, error) {
	c, err := ca.Find(digits)
	if errors.Is(err, fs.ErrNotExist) {
		err = signer.WithHint(err, "show the serial numbers with: "+f.command("list"))
	}
	return c, err
}

// subjectOf returns the subject of an entry. Of a certificate that is known only
// from a revocation list it is unknown.
func subjectOf(c authority.Certificate) string { return cmp.Or(c.Subject, "(unknown)") }

// count returns a number with its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

// named returns a name in quotation marks, or what stands for an empty one.
func named(subject string) string {
	if subject == "" {
		return "(no subject)"
	}
	return fmt.Sprintf("%q", subject)
}
