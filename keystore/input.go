package keystore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
)

// MaxInput is the maximum size of a file, a variable or standard input, in
// bytes. Large bundles of certificates have about 300 KiB.
const MaxInput = 4 << 20

// stdinTimeout bounds the wait for the end of standard input. Some programs
// that run a credential process leave a pipe open without writing to it.
const stdinTimeout = 7 * time.Second

func (r Ref) isInput() bool {
	return r.Scheme == SchemeFile || r.Scheme == SchemeEnv || r.Scheme == SchemeStdin
}

func (o Options) read(ctx context.Context, ref Ref) ([]byte, error) {
	data, err := o.readInput(ctx, ref)
	if err != nil && looksLikeKey(ref.Rest) {
		err = signer.WithHint(err, hintForText)
	}
	return data, err
}

func (o Options) readInput(ctx context.Context, ref Ref) ([]byte, error) {
	switch ref.Scheme {
	case SchemeFile:
		data, mode, err := readFile(ctx, ref.Rest, MaxInput)
		if errors.Is(err, errFIFO) {
			err = signer.WithHint(err, "to read from a pipe, connect it to standard input and give - as the reference, or let the shell open it: <(COMMAND)")
		}
		if err == nil && worldAccessible(mode) && containsPrivateKey(data) {
			o.warnWorldAccessible(ref.Rest, "a private key")
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

// errNotSet is the error for an unset variable. It is [fs.ErrNotExist], like
// the error for a missing file.
type errNotSet struct{}

func (errNotSet) Error() string        { return "environment variable is not set" }
func (errNotSet) Hint() string         { return "set the variable and export it" }
func (errNotSet) Is(target error) bool { return target == fs.ErrNotExist }

func (o Options) warnWorldAccessible(path, content string) {
	o.logger().Warn(fmt.Sprintf("%s contains %s, and every local user can read or change it; protect it with chmod 600", path, content))
}

var errFIFO = errors.New("is a FIFO, not a regular file")

// readFile is [readFileNow], but does not wait for a file system that does not answer
// after ctx ends. Nothing interrupts the system call.
func readFile(ctx context.Context, path string, limit int64) ([]byte, fs.FileMode, error) {
	if ctx.Done() == nil {
		return readFileNow(ctx, path, limit)
	}
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	type contents struct {
		data []byte
		mode fs.FileMode
	}
	c, inTime, err := await.InGrace(ctx, readGrace, func() (c contents, err error) {
		c.data, c.mode, err = readFileNow(ctx, path, limit)
		return c, err
	}, func(c contents) { clear(c.data) })
	if !inTime {
		err = signer.WithHint(fmt.Errorf("the file was not read in time: %w", err), "check the file system of the file, which may be on another machine, or allow more time")
	}
	return c.data, c.mode, err
}

// readGrace is how long a read that ends with its context may take after it.
const readGrace = 50 * time.Millisecond

// readFileNow opens the file without blocking, so that a FIFO without a writer is
// refused at once. It checks the type of the open file, because the path could
// name another file in the meantime. It reads pipes that the process inherited.
func readFileNow(ctx context.Context, path string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|fileowner.Nonblock, 0)
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
		return nil, 0, signer.WithHint(errors.New("is a directory"), "name a file in it")
	case mode.IsRegular():
	case mode&fs.ModeNamedPipe != 0 && isInherited(path):
		data, err := readPipe(ctx, f, path, limit)
		return data, 0o600, err
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

// ReadFile reads a regular file, or a pipe that the process inherited, of at most
// limit bytes. It refuses the same file types as [Call.Read] and logs nothing.
// Errors do not contain the path.
func ReadFile(path string, limit int64) ([]byte, error) {
	data, _, err := readFile(context.Background(), path, limit)
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

// readStdin abandons its goroutine at the timeout: a read of standard input
// cannot be interrupted, and the process is about to end.
func readStdin(ctx context.Context, r io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stdinTimeout, stdinLate())
	defer cancel()
	return await.Result(ctx, func() ([]byte, error) { return readAll(r, MaxInput) }, nil)
}

func stdinLate() error {
	return signer.WithHint(fmt.Errorf("standard input did not end within %v", stdinTimeout),
		"close standard input, or check the program that writes to it")
}

func tooLarge(limit int64) error {
	return fmt.Errorf("is larger than %d KiB", limit>>10)
}

// withoutPath removes the operation and the path from an *fs.PathError, because
// the callers add them.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// worldAccessible reports whether users outside of the file's group can read or
// change it. Windows has no such permission bits.
func worldAccessible(mode fs.FileMode) bool {
	return runtime.GOOS != "windows" && mode.Perm()&0o006 != 0
}

// ContainsPrivateKey reports whether the contents of a file contain a private key,
// or are PKCS #12 in DER, whose parts are encrypted.
func ContainsPrivateKey(data []byte) bool { return containsPrivateKey(data) }

// containsPrivateKey reports whether data contains a private key. It assumes so
// for PKCS #12, whose parts are encrypted.
func containsPrivateKey(data []byte) bool {
	data, _ = armor.Decode(data)
	if !bytes.Contains(data, []byte(pemBegin)) {
		return isPrivateKey(data)
	}
	return slices.ContainsFunc(pemBlocks(data), func(b pemBlock) bool {
		return b.label == "PKCS12" || strings.HasSuffix(b.label, "PRIVATE KEY") || isPrivateKey(b.start)
	})
}

// isPrivateKey reports whether data begin like a private key or PKCS #12 in DER or
// BER: SEQUENCE { version INTEGER, … }, or like an encrypted private key:
// SEQUENCE { SEQUENCE, OCTET STRING } (RFC 5958, section 3).
func isPrivateKey(data []byte) bool {
	header := 2
	if len(data) < header || data[0] != 0x30 {
		return false
	}
	if n := data[1]; n > 0x80 {
		header += int(n & 0x7f)
	}
	in := cryptobyte.String(data[min(header, len(data)):])
	if len(in) > 2 && in[0] == 2 && in[1] == 1 {
		return in[2] == 0 || in[2] == 1 || in[2] == 3 // a larger number is that of a public key or of parameters
	}
	return in.SkipASN1(asn1.SEQUENCE) && in.PeekASN1Tag(asn1.OCTET_STRING)
}

// maxPEMType bounds the length of a PEM block's type, in bytes. Without it,
// pemTypes takes quadratic time for a long line of BEGIN markers.
const maxPEMType = 64

// A pemBlock is the label of a PEM block and the bytes at the start of its contents.
type pemBlock struct {
	label string
	start []byte
}

// pemBlocks returns the PEM blocks in data. It reads only their first lines
// (RFC 7468, section 3).
func pemBlocks(data []byte) (blocks []pemBlock) {
	const enough = 256 // characters, for the header of an encrypted key
	for {
		_, rest, ok := bytes.Cut(data, []byte(pemBegin+" "))
		if !ok {
			return blocks
		}
		line, _, _ := strings.Cut(string(rest[:min(len(rest), maxPEMType)]), "\n")
		if label, _, ok := strings.Cut(line, "-----"); ok {
			body := rest[len(label)+len("-----"):]
			body, _, _ = bytes.Cut(body[:min(len(body), enough)], []byte("-"))
			text := bytes.Join(bytes.Fields(body), nil)
			start, _ := base64.StdEncoding.AppendDecode(nil, text[:len(text)/4*4])
			blocks = append(blocks, pemBlock{label, start})
		}
		data = rest
	}
}

// File returns the path if r names a file, and not a key or secret in a device.
func (r Ref) File() (path string, ok bool) { return r.Rest, r.Scheme == SchemeFile }

// Variable returns the name if r names an environment variable.
func (r Ref) Variable() (name string, ok bool) { return r.Rest, r.Scheme == SchemeEnv }
