package front

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// FilePath returns the path in the value of a flag that must name a file: a path
// or file:PATH. "" is no error.
func FilePath(a App, flag, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	ref, err := keystore.ParseRef(value)
	if err != nil {
		return "", Usagef("--%s: %w", flag, err)
	}
	files := a.Store.Uses(ref).Files
	if !a.Store.IsInput(ref) || len(files) != 1 {
		return "", signer.WithHint(Usagef("--%s %s is not a file", flag, ref), "give the path of a file")
	}
	return files[0], nil
}

// An OutFile is the flag --out, with which a command writes its result, which is
// public, to a file instead of standard output. Unlike a redirection of the shell,
// it keeps the file if the command fails.
type OutFile struct {
	path, what, label string
	keyOf             func(data []byte) (spki []byte, ok bool) // of a result that is not PEM
}

// Add adds the flag for a result that consists of PEM blocks with a label. what
// names it.
func (o *OutFile) Add(cmd *cobra.Command, what, label string) {
	o.what, o.label = what, label
	cmd.Flags().StringVar(&o.path, "out", "", "write the "+what+" to this `file` instead of standard output; a file is replaced only when the "+what+" is complete")
}

// AddFile is Add for a result that is not PEM. keyOf returns the SubjectPublicKeyInfo
// of the key in such a file, which only a result for the same key replaces.
func (o *OutFile) AddFile(cmd *cobra.Command, what string, keyOf func(data []byte) (spki []byte, ok bool)) {
	o.Add(cmd, what, "")
	o.keyOf = keyOf
}

// SetFile changes what the result is, for a flag that does so; see AddFile.
func (o *OutFile) SetFile(what string, keyOf func(data []byte) (spki []byte, ok bool)) {
	o.what, o.keyOf = what, keyOf
}

// Or returns the path of the file, or other if the flag was not given.
func (o *OutFile) Or(other string) string { return cmp.Or(o.path, other) }

// Given reports whether the flag was given.
func (o *OutFile) Given() bool { return o.path != "" }

// SetLabel changes the label, for a flag that changes what the result is.
func (o *OutFile) SetLabel(label string) { o.label = label }

// Check returns an error if the file cannot be written. It is called before the
// command changes or signs anything.
func (o *OutFile) Check(a App) (err error) {
	if o.path == "" {
		return nil
	}
	if o.path, err = FilePath(a, "out", o.path); err == nil {
		_, _, err = o.target()
	}
	return err
}

// Write writes the result to the file, or to standard output without one. object,
// unless it is nil, is the result for --json, which standard output gets in any
// case.
func (o *OutFile) Write(a App, data []byte, object any) error {
	switch {
	case o.path != "":
		if err := o.replace(data); err != nil || object == nil {
			return err
		}
		return WriteJSON(a.Stdout, object)
	case object != nil:
		return WriteJSON(a.Stdout, object)
	}
	_, err := a.Stdout.Write(data)
	return err
}

func (o *OutFile) replace(data []byte) error {
	path, info, err := o.target()
	if err != nil {
		return err
	}
	f := atomicfile.File{Name: path, Prepare: func(t *os.File) error {
		if info == nil {
			return t.Chmod(0o644) // the result is public
		}
		return atomicfile.CopyOwnerAndMode(t, info)
	}}
	if objects := o.objects(data); len(objects) > 0 {
		if err := o.CheckFor(objects[0]); err != nil {
			return err
		}
	}
	if err := f.Replace(data); err != nil {
		return signer.WithHint(fmt.Errorf("%w: --out %s: %w", ErrOutput, o.path, WithoutPath(err)), "the result is lost; run the command again")
	}
	return f.SyncFolder()
}

// target returns the file to replace, at the end of symbolic links; info is nil if
// it does not exist.
func (o *OutFile) target() (path string, info fs.FileInfo, err error) {
	failed := func(err error) (string, fs.FileInfo, error) {
		return "", nil, fmt.Errorf("--out %s: %w", o.path, WithoutPath(err))
	}
	if path, err = filepath.EvalSymlinks(o.path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(o.path); err == nil {
			return failed(errors.New("the link leads nowhere"))
		}
		path = o.path
		if folder, err := os.Stat(filepath.Dir(path)); err != nil || !folder.IsDir() {
			return failed(cmp.Or(err, error(fs.ErrNotExist)))
		}
	} else if err != nil {
		return failed(err)
	}
	if err := fileowner.Check(path); err != nil {
		return failed(err)
	}
	if info, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return path, nil, nil
	} else if err != nil {
		return failed(err)
	}
	if !info.Mode().IsRegular() {
		return failed(errors.New("is not a regular file"))
	}
	data, err := keystore.ReadFile(path, maxPublic)
	if err == nil && !o.mayReplace(data) {
		err = signer.WithHint(fmt.Errorf("contains something other than %s, and is not replaced: %w", withArticle(o.what), fs.ErrExist), "choose another file")
	}
	if err != nil {
		return failed(err)
	}
	return path, info, nil
}

func withArticle(what string) string {
	if strings.ContainsRune("aeiou", rune(what[0])) {
		return "an " + what
	}
	return "a " + what
}

// maxPublic bounds a file that is replaced, in bytes, as that of the lists of a CA.
const maxPublic = 64 << 20

// mayReplace reports whether data is empty or a result of the same kind. A file
// with nothing but certificates of CAs is not the result of ca issue for a machine.
func (o *OutFile) mayReplace(data []byte) bool {
	if o.keyOf != nil {
		_, ok := o.keyOf(data)
		return ok || len(bytes.TrimSpace(data)) == 0
	}
	if _, err := x509.ParseRevocationList(data); err == nil { // in DER
		return o.label == "X509 CRL"
	}
	const begin = "-----BEGIN "
	certificates, leaf := false, false
	for text := bytes.TrimSpace(data); len(text) > 0; {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != o.label || !bytes.HasPrefix(text, []byte(begin)) || bytes.Count(text[:len(text)-len(rest)], []byte(begin)) > 1 {
			return false
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certificates, leaf = true, leaf || !c.IsCA
		}
		if o.parses(block.Bytes) != nil {
			return false // such as a key under a wrong label
		}
		text = bytes.TrimSpace(rest)
	}
	return leaf || !certificates
}

func (o *OutFile) parses(der []byte) (err error) {
	switch o.label {
	case "CERTIFICATE":
		_, err = x509.ParseCertificate(der)
	case "CERTIFICATE REQUEST":
		_, err = x509.ParseCertificateRequest(der)
	case "PUBLIC KEY":
		_, err = x509.ParsePKIXPublicKey(der)
	case "X509 CRL":
		_, err = x509.ParseRevocationList(der)
	}
	return err
}

// An Object is what identifies a result: its key and its name, in DER.
type Object struct {
	Key, Name []byte
	issuer    []byte
}

// CheckFor returns an error if the file contains the result for another object.
func (o *OutFile) CheckFor(result Object) error {
	if o.path == "" {
		return nil
	}
	old, err := keystore.ReadFile(o.path, maxPublic)
	if err == nil && !o.succeeds(old, result) {
		return signer.WithHint(fmt.Errorf("--out %s: contains %s for something else, and is not replaced: %w", o.path, withArticle(o.what), fs.ErrExist), "choose another file")
	}
	return nil // Check has examined the file
}

// CheckOutside returns an error if the file is in a folder, or in a folder of
// that folder.
func (o *OutFile) CheckOutside(dir string) error {
	folder, err := os.Stat(dir)
	if o.path == "" || err != nil {
		return nil
	}
	path, err := filepath.Abs(o.path)
	for range 2 {
		path = filepath.Dir(path)
		if info, statErr := os.Stat(path); err == nil && statErr == nil && os.SameFile(info, folder) {
			return signer.WithHint(Usagef("--out %s is in the folder %s", o.path, dir), "choose a file in another folder")
		}
	}
	return nil
}

// objects returns the objects in PEM, or in DER, that have an identity.
func (o *OutFile) objects(data []byte) (all []Object) {
	if o.keyOf != nil {
		if spki, ok := o.keyOf(data); ok {
			all = append(all, Object{Key: spki})
		}
		return all
	}
	add := func(der []byte) {
		switch o.label {
		case "CERTIFICATE":
			if c, err := x509.ParseCertificate(der); err == nil {
				all = append(all, Object{c.RawSubjectPublicKeyInfo, c.RawSubject, c.RawIssuer})
			}
		case "CERTIFICATE REQUEST":
			if r, err := x509.ParseCertificateRequest(der); err == nil {
				all = append(all, Object{Key: r.RawSubjectPublicKeyInfo, Name: r.RawSubject})
			}
		case "X509 CRL":
			if l, err := x509.ParseRevocationList(der); err == nil {
				all = append(all, Object{Name: l.RawIssuer})
			}
		}
	}
	block, rest := pem.Decode(data)
	if block == nil {
		add(data)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		add(block.Bytes)
	}
	return all
}

// succeeds reports whether result may replace old: whether each object in old has
// its key or its name, or issued such an object.
func (o *OutFile) succeeds(old []byte, result Object) bool {
	before := o.objects(old)
	if o.keyOf != nil {
		return !slices.ContainsFunc(before, func(x Object) bool { return !bytes.Equal(x.Key, result.Key) })
	}
	ours := []Object{result}
	for more := true; more; {
		more = false
		before = slices.DeleteFunc(before, func(x Object) bool {
			same := len(x.Key) > 0 && bytes.Equal(x.Key, result.Key) || bytes.Equal(x.Name, result.Name)
			if !same && !slices.ContainsFunc(ours, func(below Object) bool { return bytes.Equal(below.issuer, x.Name) }) {
				return false
			}
			ours, more = append(ours, x), true
			return true
		})
	}
	return len(before) == 0
}
