// Package pinentry asks a person for a PIN or password through a pinentry program,
// which has a window on a desktop. It speaks the Assuan protocol of GnuPG's
// pinentry (The Assuan Manual, section 2; pinentry manual, section 3). It imports
// nothing of Holdfast.
package pinentry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Errors of [Program.Ask].
var (
	ErrNotFound   = errors.New("no pinentry program was found")
	ErrCanceled   = errors.New("the dialog was canceled")
	ErrTimedOut   = errors.New("nobody answered the dialog in time")
	ErrNoTerminal = errors.New("the pinentry program found neither a desktop nor a terminal")
	ErrRefused    = errors.New("the pinentry program shows no dialog")
	ErrProtocol   = errors.New("the program does not answer like a pinentry")
)

// A Dialog is the content of a window.
type Dialog struct {
	Title       string
	Description string        // text above the input
	Prompt      string        // label of the input, such as "PIN:"
	Warning     string        // shown prominently; "": none
	Timeout     time.Duration // after which the program closes the window; 0: never
}

// A Program is a pinentry program. The zero value is the program pinentry in PATH.
type Program struct {
	Path    string   // name or path; "": the program of the system
	Environ []string // environment, of which the program gets only what a window needs
	TTY     string   // terminal for a program without a window; "": none
	Type    string   // type of that terminal, as in TERM
}

// defaults are the names of the program, in the order of the search.
func defaults() []string {
	if runtime.GOOS == "darwin" {
		return []string{"pinentry-mac", "pinentry"}
	}
	return []string{"pinentry"}
}

func (p Program) find() (string, error) {
	names := defaults()
	if p.Path != "" {
		names = []string{p.Path}
	}
	var reason error
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		reason = err
	}
	if errors.Is(reason, fs.ErrPermission) {
		return "", fmt.Errorf("%w that can be executed: %s", ErrNotFound, names[len(names)-1])
	}
	return "", fmt.Errorf("%w: %s", ErrNotFound, names[len(names)-1])
}

// Ask shows a dialog and returns what was typed. The caller clears it. The program
// ends when ctx ends.
func (p Program) Ask(ctx context.Context, d Dialog) ([]byte, error) {
	return p.run(ctx, d, "GETPIN")
}

// Tell shows a dialog without an input until a person closes it or ctx ends.
func (p Program) Tell(ctx context.Context, d Dialog) error {
	_, err := p.run(ctx, d, "MESSAGE")
	return err
}

// greetingTimeout bounds the wait for the first line of a program.
const greetingTimeout = 5 * time.Second

// killDelay is how long a program may take to end by itself.
const killDelay = time.Second

func (p Program) run(ctx context.Context, d Dialog, command string) (answer []byte, err error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = windowEnvironment(p.Environ)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = killDelay
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	// A child of the program may keep its output open.
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(2*killDelay, func() { _ = out.Close() }) })
	defer stop()
	c := &conn{in: in, out: out}
	mute := time.AfterFunc(greetingTimeout, func() { cancel(fmt.Errorf("%w: it does not greet", ErrProtocol)) })
	if _, err = c.answer(); mute.Stop() && err == nil {
		answer, err = c.dialog(p.options(), d, command)
	}
	c.clear()
	_ = in.Close() // ends the program
	stopKill := time.AfterFunc(killDelay, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // the answer says whether it succeeded
	stopKill.Stop()
	if err != nil {
		clear(answer)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			err = ErrTimedOut
		case errors.Is(err, ErrProtocol) && wasInterrupted(cmd.ProcessState):
			err = ErrCanceled
		}
		return nil, err
	}
	return answer, nil
}

// options returns the options that tell the program where it runs.
func (p Program) options() (all []string) {
	for _, o := range [][2]string{
		{"ttyname", p.TTY}, {"ttytype", p.Type},
		{"lc-ctype", p.variable("LC_ALL", "LC_CTYPE", "LANG")}, {"lc-messages", p.variable("LC_ALL", "LC_MESSAGES", "LANG")},
	} {
		if o[1] != "" {
			all = append(all, "OPTION "+o[0]+"="+escape(o[1]))
		}
	}
	return all
}

// variable returns the value of the first variable that is set.
func (p Program) variable(names ...string) string {
	for _, name := range names {
		for _, v := range p.Environ {
			if value, ok := strings.CutPrefix(v, name+"="); ok && value != "" {
				return value
			}
		}
	}
	return ""
}

// dialog sets the texts and sends the command that shows the window.
func (c *conn) dialog(options []string, d Dialog, command string) ([]byte, error) {
	// Not every program knows all of these.
	optional := append(options, "SETTITLE "+escape(d.Title))
	if d.Timeout > 0 {
		optional = append(optional, "SETTIMEOUT "+strconv.Itoa(max(1, int(d.Timeout/time.Second))))
	}
	if d.Warning != "" {
		optional = append(optional, "SETERROR "+escape(d.Warning))
	}
	for _, line := range optional {
		var refused *refusal
		if _, err := c.call(line); err != nil && !errors.As(err, &refused) {
			return nil, err
		}
	}
	for _, line := range []string{"SETDESC " + escape(d.Description), "SETPROMPT " + escape(d.Prompt)} {
		if _, err := c.call(line); err != nil {
			return nil, err
		}
	}
	answer, err := c.call(command)
	var refused *refusal
	if errors.As(err, &refused) {
		err = refused.meaning()
	}
	return answer, err
}

// windowVariables are the environment variables that a program with a window
// needs. A final * matches any suffix. Others may contain secrets.
var windowVariables = []string{
	"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_*", "DBUS_SESSION_BUS_ADDRESS", "HOME", "USER", "LOGNAME", "PATH",
	"LANG", "LANGUAGE", "LC_*", "TERM", "GPG_TTY", "COLORTERM", "PINENTRY_*", "GTK_*", "QT_*", "GDK_*", "NO_AT_BRIDGE",
	"SYSTEMROOT", "WINDIR", "TEMP", "TMP", "TMPDIR", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "__CF_USER_TEXT_ENCODING",
}

func windowEnvironment(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return !slices.ContainsFunc(windowVariables, func(pattern string) bool {
			prefix, any := strings.CutSuffix(pattern, "*")
			return any && strings.HasPrefix(name, prefix) || name == pattern || runtime.GOOS == "windows" && strings.EqualFold(name, pattern)
		})
	})
}

// escape returns text for a command: with the percent-encoding of Assuan and short
// enough for a line.
func escape(text string) string {
	const maxText = 900 // bytes of a line of 1000
	var b bytes.Buffer
	for _, r := range strings.ToValidUTF8(text, "?") {
		part := string(r)
		if r == '%' || r < ' ' || r == 0x7f {
			part = fmt.Sprintf("%%%02X", r)
		}
		if b.Len()+len(part) > maxText {
			b.WriteString("…")
			break
		}
		b.WriteString(part)
	}
	return b.String()
}
