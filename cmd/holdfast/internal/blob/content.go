package blob

import (
	"bufio"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// stdio is the name of standard input, and of standard output.
const stdio = "-"

// oneFile accepts FILE as the only argument. Its error does not quote arguments: one
// can be the second half of a password with a space.
func oneFile(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return signer.WithHint(errors.New("FILE is not given"), "name the file, or - for standard input, as in "+cmd.CommandPath()+" SHA256SUMS")
	case len(args) > 1:
		return signer.WithHint(fmt.Errorf("%d arguments are given instead of one FILE", len(args)),
			"put quotes around values that contain spaces; for several files, use a list of their hashes: sha256sum FILE... > SHA256SUMS")
	case args[0] == "":
		return signer.WithHint(errors.New("FILE is an empty text"), "check the variable")
	}
	return nil
}

// maxMessage bounds the content for a key that signs the content itself, in bytes.
const maxMessage = 64 << 20

// A content is what is signed. It can be read once.
type content struct {
	name string // in messages
	r    io.Reader
	info fs.FileInfo // nil: standard input
}

// openContent opens a file, or standard input for -, until ctx ends. The caller calls
// done.
func openContent(ctx context.Context, a front.App, name string) (c content, done func(), err error) {
	if name == stdio {
		if a.Stdin == nil {
			return c, nil, errors.New("standard input is not available here")
		}
		return content{"standard input", a.Stdin, nil}, func() {}, nil
	}
	f, err := await.Result(ctx, func() (*os.File, error) { return open(name) }, func(f *os.File) { _ = f.Close() })
	if err == nil {
		c.info, err = f.Stat()
	}
	if err != nil {
		return c, nil, fmt.Errorf("%s: %w", name, front.WithoutPath(err))
	}
	c.name, c.r = name, f
	return c, func() { _ = f.Close() }, nil // it was only read
}

// open opens a regular file, or a pipe that the process inherited. It looks up the kind
// of the file before, because opening a FIFO waits for its writer.
func open(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, signer.WithHint(errors.New("is a directory"), "name a file in it")
	case mode.IsRegular(), mode&fs.ModeNamedPipe != 0 && isInherited(name):
		return os.Open(name)
	case mode&fs.ModeNamedPipe != 0:
		return nil, signer.WithHint(errors.New("is a FIFO, not a regular file"), "connect it to standard input, and give - as the file")
	}
	return nil, signer.WithHint(errors.New("is a device or socket, not a regular file"), "name a file")
}

// isInherited reports whether a path names an open file of this process, such as the
// pipe of a process substitution, <(COMMAND).
func isInherited(path string) bool {
	return slices.ContainsFunc([]string{"/dev/fd/", "/dev/std", "/proc/self/fd/"}, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// A signed is what a signature is over. The message is nil if only the digest was
// needed. Without a hash, the digest is the message.
type signed struct{ message, digest []byte }

// readTimeout is how long reading the content may take.
const readTimeout = 24 * time.Hour

// read reads the content until ctx ends. Its time does not count for an [await.Limit] of
// ctx. whole keeps the content as the message, of at most maxMessage bytes. A read that
// does not return goes on in the background.
func (c content) read(ctx context.Context, hash crypto.Hash, whole bool) (signed, error) {
	ctx, done := await.Person(ctx, readTimeout)
	defer done()
	s, _, err := await.InTime(ctx, func() (signed, error) { return c.readNow(ctx, hash, whole) }, nil)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.name, front.WithoutPath(err))
	}
	return s, err
}

func (c content) readNow(ctx context.Context, hash crypto.Hash, whole bool) (s signed, err error) {
	if whole && c.isLong() {
		return s, c.tooLong()
	}
	if whole && c.info != nil {
		s.message = make([]byte, 0, c.info.Size())
	}
	var digester io.Writer = io.Discard
	var sum func() []byte
	if hash != 0 {
		h := hash.New()
		digester, sum = h, func() []byte { return h.Sum(nil) }
	}
	chunk := make([]byte, 256<<10)
	r := bufio.NewReader(c.r)
	if start, _ := r.Peek(len(requestPrefix)); string(start) == requestPrefix { // the loop meets its error
		return s, errRequest()
	}
	for err == nil {
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		var n int
		n, err = r.Read(chunk)
		_, _ = digester.Write(chunk[:n]) // never fails
		if whole {
			s.message = append(s.message, chunk[:n]...)
		}
		if len(s.message) > maxMessage {
			return signed{}, c.tooLong()
		}
	}
	if err != io.EOF {
		return signed{}, err
	}
	s.digest = s.message
	if sum != nil {
		s.digest = sum()
	}
	return s, nil
}

// requestPrefix is how a string to sign of IAM Roles Anywhere begins, for each kind of key.
const requestPrefix = "AWS4-X509-"

// errRequest returns the error for content whose signature would be that of a request: with
// it, somebody else could get credentials for the certificate of the key.
func errRequest() error {
	return signer.WithHint(errors.New("is the text of a request to IAM Roles Anywhere, not a file to publish"),
		"do not sign it, and find out where it comes from: its signature gives AWS credentials to whoever has it")
}

// isLong reports whether the content is known to be longer than maxMessage. The size of
// a pipe is 0.
func (c content) isLong() bool { return c.info != nil && c.info.Size() > maxMessage }

// tooLong returns the error for content that is longer than maxMessage. It does not
// name the content.
func (c content) tooLong() error {
	file := "FILE"
	if c.info != nil {
		file = front.OneLine(front.ShellQuote(c.name))
	}
	return signer.WithHint(fmt.Errorf("is longer than %d MiB, and this key signs the content itself: %w", maxMessage>>20, errTooLong),
		"sign a list of hashes instead: sha256sum "+file+" > SHA256SUMS")
}

var errTooLong = errors.New("it would have to be in memory as a whole")
