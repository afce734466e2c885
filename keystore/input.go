package keystore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// MaxInput is the largest file, variable or standard input that is read, in
// bytes. The largest honest ones, bundles of certificates, have some 300 KiB.
const MaxInput = 4 << 20

// stdinPatience is how long the end of standard input is waited for. Some
// programs that run a credential process leave a pipe open without a writer.
const stdinPatience = 7 * time.Second

func (r Ref) isInput() bool {
	return r.Scheme == SchemeFile || r.Scheme == SchemeEnv || r.Scheme == SchemeStdin
}

func (o Options) read(ctx context.Context, ref Ref) ([]byte, error) {
	switch ref.Scheme {
	case SchemeFile:
		data, mode, err := readFile(ref.Rest, MaxInput)
		if errors.Is(err, errFIFO) {
			err = signer.WithHint(err, "to pass it through a pipe give - and feed standard input")
		}
		if err == nil && openToOthers(mode) && holdsPrivateKey(data) {
			o.warnOpen(ref.Rest, "a private key")
		}
		return data, err
	case SchemeEnv:
		v, err := o.lookupEnv(ref.Rest)
		if err != nil {
			return nil, err
		}
		if len(v) > MaxInput {
			return nil, tooLarge(MaxInput)
		}
		return []byte(v), nil
	case SchemeStdin:
		if o.Stdin == nil {
			return nil, errors.New("standard input is not available here")
		}
		return readStdin(ctx, o.Stdin)
	}
	return nil, fmt.Errorf("cannot read bytes from scheme %q", ref.Scheme)
}

func (o Options) lookupEnv(name string) (string, error) {
	if o.LookupEnv == nil {
		return "", errors.New("environment variables are not available here")
	}
	v, ok := o.LookupEnv(name)
	if !ok {
		return "", errNotSet{}
	}
	return v, nil
}

// errNotSet is for a variable what [fs.ErrNotExist] is for a file.
type errNotSet struct{}

func (errNotSet) Error() string        { return "environment variable is not set" }
func (errNotSet) Hint() string         { return "set the variable and export it to this process" }
func (errNotSet) Is(target error) bool { return target == fs.ErrNotExist }

func (o Options) warnOpen(path, what string) {
	o.logger().Warn(fmt.Sprintf("%s holds %s and every local user can read or change it; chmod 600 it", path, what))
}

var errFIFO = errors.New("is a FIFO, not a regular file")

// readFile opens without blocking, so that a FIFO without a writer is refused
// instead of waited for, and looks at what was opened, not at the name.
func readFile(path string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, 0, withoutPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, withoutPath(err)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, 0, errors.New("is a directory")
	case mode.IsRegular():
	case mode&fs.ModeNamedPipe != 0:
		return nil, 0, errFIFO
	default:
		return nil, 0, errors.New("is a device or socket, not a regular file")
	}
	if info.Size() > limit {
		return nil, 0, tooLarge(limit)
	}
	data, err := readAll(f, limit)
	return data, info.Mode(), err
}

// ReadFile reads a regular file of at most limit bytes as [Call.Read] does.
// Errors do not name the path.
func ReadFile(path string, limit int64) ([]byte, error) {
	data, _, err := readFile(path, limit)
	return data, err
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(limit)
	}
	return data, nil
}

// readStdin leaves its goroutine behind if nothing comes: a read of standard
// input cannot be interrupted, and the process is about to end.
func readStdin(ctx context.Context, r io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stdinPatience, errStdinOpen)
	defer cancel()
	return await.Result(ctx, func() ([]byte, error) { return readAll(r, MaxInput) }, nil)
}

var errStdinOpen = signer.WithHint(fmt.Errorf("standard input does not end within %v", stdinPatience),
	"close it, or check the program that feeds it")

func tooLarge(limit int64) error {
	return fmt.Errorf("is larger than %d KiB", limit>>10)
}

// withoutPath drops the operation and path of an *fs.PathError, which the
// layers above name once.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// openToOthers reports whether users outside of the file's group may read or
// change it. Windows has no such bits.
func openToOthers(mode fs.FileMode) bool {
	return runtime.GOOS != "windows" && mode.Perm()&0o006 != 0
}

// holdsPrivateKey errs on the side of a warning for what is not PEM.
func holdsPrivateKey(data []byte) bool {
	types := pemTypes(data)
	if len(types) == 0 && bytes.HasPrefix(data, []byte{0x30}) {
		_, err := x509.ParseCertificates(data)
		return err != nil
	}
	return slices.ContainsFunc(types, func(t string) bool {
		return t == "PKCS12" || strings.HasSuffix(t, "PRIVATE KEY")
	})
}

// maxPEMType bounds the type of a PEM block, in bytes, so that a long line full
// of beginnings is not looked through again for each of them.
const maxPEMType = 64

// pemTypes returns the types of the PEM blocks in data by their first lines
// alone (RFC 7468, section 3).
func pemTypes(data []byte) []string {
	var types []string
	for {
		_, rest, ok := bytes.Cut(data, []byte("-----BEGIN "))
		if !ok {
			return types
		}
		line, _, _ := strings.Cut(string(rest[:min(len(rest), maxPEMType)]), "\n")
		if t, _, ok := strings.Cut(line, "-----"); ok {
			types = append(types, t)
		}
		data = rest
	}
}
