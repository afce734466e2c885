package blob

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

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// The ends of the names of the files that sign-blob writes: FILE.sig and FILE.sig.pem.
const (
	signatureEnd   = ".sig"
	certificateEnd = ".pem"
)

// signaturePath returns the path of the signature of a file: the value of --signature,
// or else FILE.sig.
func signaturePath(flag, name string) (string, error) {
	if flag == "" && name == stdio {
		return "", signer.WithHint(front.Usagef("--signature is not given, and standard input has no name from which it follows"),
			"name the file of the signature, as in --signature app.sig")
	}
	return cmp.Or(flag, name+signatureEnd), nil
}

// publicMode is the mode of the files. Signatures and certificates are public.
const publicMode = 0o644

// A resultFile is a file that sign-blob writes.
type resultFile struct {
	path, what string
	// isOld reports whether data are what an earlier run wrote, so that --force
	// replaces them.
	isOld func(data []byte) bool
}

func signatureFile(path string) resultFile {
	return resultFile{path, "signature", func(data []byte) bool {
		return len(data) == 0 || len(data) <= maxSignature && textForm(data) == "" && !keystore.ContainsPrivateKey(data)
	}}
}

func certificateFile(path string) resultFile {
	return resultFile{path, "certificate", func(data []byte) bool {
		for text := bytes.TrimSpace(data); len(text) > 0; {
			block, rest := pem.Decode(text)
			if block == nil || block.Type != certificateLabel || !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
				return false
			}
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return false
			}
			text = bytes.TrimSpace(rest)
		}
		return true
	}}
}

const certificateLabel = "CERTIFICATE"

// check returns an error if the file cannot be written. in is the content that is
// signed, which no file replaces.
func (f resultFile) check(force bool, in content) (exists bool, err error) {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		folder, err := os.Stat(filepath.Dir(f.path))
		if err == nil && !folder.IsDir() {
			err = errors.New("its folder is not a directory")
		}
		return false, f.wrap(cmp.Or(err, fileowner.Check(f.path)))
	case err != nil:
		return false, f.wrap(err)
	case in.info != nil && os.SameFile(info, in.info):
		return true, f.wrap(signer.WithHint(fmt.Errorf("is the file that is to be signed: %w", fs.ErrExist), "choose another file with --signature"))
	case !force:
		return true, f.wrap(signer.WithHint(fmt.Errorf("%w, and is not replaced", fs.ErrExist), "replace it with --force, or choose another file with --signature"))
	case !info.Mode().IsRegular():
		return true, f.wrap(signer.WithHint(fmt.Errorf("is not a regular file, and is not replaced: %w", fs.ErrExist), "choose another file with --signature; - is standard output"))
	}
	data, err := keystore.ReadFile(f.path, keystore.MaxInput)
	if err == nil && !f.isOld(data) {
		err = signer.WithHint(fmt.Errorf("contains something other than a %s, and is not replaced: %w", f.what, fs.ErrExist), "choose another file with --signature")
	}
	return true, f.wrap(cmp.Or(err, fileowner.Check(f.path)))
}

// write writes the file, which is complete or does not exist after a crash.
func (f resultFile) write(force bool, data []byte) error {
	file := atomicfile.File{Name: f.path, Prepare: func(t *os.File) error { return t.Chmod(publicMode) }}
	write := file.Create
	if force {
		write = file.Replace
	}
	err := write(data)
	if err == nil {
		err = file.SyncFolder()
	}
	if errors.Is(err, fs.ErrExist) {
		return f.wrap(signer.WithHint(fmt.Errorf("%w, and is not replaced: another program wrote it in the meantime", fs.ErrExist), "choose another file with --signature"))
	}
	if err != nil {
		err = signer.WithHint(front.WithoutPath(err), "the signature is lost; check the folder and its disk, and run the command again")
	}
	return f.wrap(err)
}

func (f resultFile) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", f.path, front.WithoutPath(err))
}

// outputs are the files that sign-blob writes.
type outputs struct {
	signature, certificate resultFile
	toStdout               bool // only the signature, and no file
	force                  bool
	oldCertificate         bool // --force replaces one
}

// newOutputs returns the files for a file and the value of --signature, after it has
// checked that they can be written.
func newOutputs(path string, force bool, in content) (o outputs, err error) {
	if path == stdio {
		return outputs{toStdout: true}, nil
	}
	o = outputs{signature: signatureFile(path), certificate: certificateFile(path + certificateEnd), force: force}
	if _, err = o.signature.check(force, in); err == nil {
		o.oldCertificate, err = o.certificate.check(force, in)
	}
	return o, err
}

// write writes a signature and the certificates of its key, if there are any.
func (o outputs) write(a front.App, signature []byte, chain []*x509.Certificate) error {
	if o.toStdout {
		_, err := a.Stdout.Write(signature)
		return err
	}
	if len(chain) == 0 && o.oldCertificate {
		return o.certificate.wrap(signer.WithHint(fmt.Errorf("the certificate of the key is not known, and the old one would stay beside the new signature: %w", fs.ErrExist),
			"name the certificate with --certificate, or remove this file"))
	}
	// A signature without its certificate would look complete.
	if len(chain) > 0 {
		var text bytes.Buffer
		for _, c := range chain {
			_ = pem.Encode(&text, &pem.Block{Type: certificateLabel, Bytes: c.Raw}) // a Buffer does not fail
		}
		if err := o.certificate.write(o.force, text.Bytes()); err != nil {
			return err
		}
	}
	err := o.signature.write(o.force, signature)
	if err != nil && len(chain) > 0 && !o.oldCertificate {
		err = errors.Join(err, o.certificate.wrap(os.Remove(o.certificate.path)))
	}
	return err
}
