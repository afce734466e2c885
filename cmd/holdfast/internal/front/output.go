package front

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
)

// ErrOutput is the error if a result could not be written to standard output.
var ErrOutput = errors.New("standard output")

// An output is standard output that remembers the first error, because help texts
// and completions are printed by code that ignores it.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		err = signer.WithHint(fmt.Errorf("%w: %w", ErrOutput, WithoutPath(err)), "the result is lost; check where standard output leads, and run the command again")
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

// WithoutPath returns the reason inside an error that names a file.
func WithoutPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// OutputExposed says how other users could read what is written to w, if w is the
// standard output of an [App] and leads to a regular file. It returns "" if they could
// not.
func OutputExposed(w io.Writer) string {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	file, ok := w.(*os.File)
	if !ok {
		return ""
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return fileowner.Exposed(info)
}

// serves reports whether cmd is a command that ignores errors of its output.
func (a App) serves(cmd *cobra.Command) bool {
	return slices.ContainsFunc(a.Commands, func(c Command) bool { return c.Serves && c.Name == cmd.Name() })
}

// Stdout returns the standard output of the process. If it was closed when the
// process started, writing fails: the Go runtime has replaced it by the null
// device. Only programs that are built with cgo notice this.
func Stdout() io.Writer {
	if stdoutWasClosed() {
		return closedOutput{}
	}
	return os.Stdout
}

var errClosed = errors.New("it was closed when the program started")

type closedOutput struct{}

func (closedOutput) Write([]byte) (int, error) { return 0, errClosed }
