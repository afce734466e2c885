// Package renewing implements the command that renews a certificate. Within
// Holdfast it imports front, flags, role and the libraries.
package renewing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

type renewFlags struct {
	role    role.Flags
	renewal flags.RenewalFlags

	ifDue, loop, status, asJSON bool
}

// Renew returns the command that renews a certificate.
func Renew(a front.App) *cobra.Command {
	var f renewFlags
	cmd := &cobra.Command{
		Use:   "renew [flags] [-- PROGRAM ARGUMENT...]",
		Short: "Renew a certificate; the key stays where it is",
		Long: `Gets a new certificate for the key and puts it in the place of the old one. The
key stays where it is. Before the new certificate replaces the old one, Holdfast
checks that it belongs to the key, is valid, has the same names and usages, and
leads to the same CA, that IAM Roles Anywhere accepts such a certificate, and
makes a signature. With the ARNs of a role it also creates a session. Until then
the old certificate stays.

A certificate is due when two thirds of its life have passed, counted from when
it was obtained. It is overdue when a sixth is left: the exit code of a failure
is then 8, and the log has an error. If the command is interrupted, the next one
continues with the same request.

--if-due is for a timer, --loop for a service. serve and update renew the
certificate themselves if the configuration file has a table [role.renew]; see
docs/renew.md.`,
		Example: `  holdfast renew --way command --certificate cert.pem --private-key key.pem \
      -- /usr/local/bin/get-certificate --ca internal
  holdfast renew --if-due --config roles.toml --role app
  holdfast renew --status --config roles.toml --role app`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return signer.WithHint(front.Usagef("unexpected argument %q", keystore.Excerpt(args[0])), "put quotes around values that contain spaces, and write the program of --way command after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args) },
	}
	f.role.OnlyKey = true
	f.role.AddFile(cmd)
	f.role.Identity.Add(cmd)
	f.role.Session.Add(cmd)
	f.renewal.Add(cmd, role.Ways())
	front.RenewalFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&f.ifDue, "if-due", false, "do nothing if the renewal is not due")
		fs.BoolVar(&f.loop, "loop", false, "run until interrupted, and renew whenever it is due")
		fs.BoolVar(&f.status, "status", false, "only print the state of the certificate and of its renewal")
	})
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&f.asJSON, "json", false, "print a JSON object: renewed, subject, serial, not_after, obtained, due, overdue, next, failures, problem, undeployed")
	})
	return cmd
}

func (f *renewFlags) run(cmd *cobra.Command, a front.App, args []string) error {
	if n := count(f.ifDue, f.loop, f.status); n > 1 {
		return signer.WithHint(front.Usagef("--if-due, --loop and --status cannot be used together"), "use only one of them")
	}
	f.role.Renewal = f.renewal.Renewal(args)
	if f.loop {
		a.Log = slog.New(&front.LogHandler{W: a.Stderr, Level: slog.LevelInfo})
		a.Typed = new(front.TypedPINs)
	}
	setup, err := f.role.Setup(cmd, a)
	if err != nil {
		return err
	}
	if setup.Renewal.Way == "" && !f.status {
		where := ""
		if setup.Name != "" {
			where = fmt.Sprintf("role %q: ", setup.Name)
		}
		return signer.WithHint(front.Usagef("%sthe way of getting the certificate is not given", where),
			"use one of: --way "+strings.Join(role.Ways(), ", --way ")+"; or [role.renew] in a configuration file")
	}
	if way := setup.Renewal.Way; len(args) > 0 && slices.Contains(role.Ways(), way) && way != "command" {
		return signer.WithHint(front.Usagef("--way %s uses no program", way), "leave out the program, or use --way command")
	}
	if f.loop {
		return setup.KeepRenewed(cmd.Context(), a)
	}
	open := func(ctx context.Context) (signer.Signer, error) { return setup.Key.Open(ctx, a, setup.Config.Logger) }
	r, err := setup.Renewer(a, open, nil)
	if err != nil {
		return err
	}
	return f.once(cmd.Context(), a, r, setup.Key.Name())
}

func count(values ...bool) (n int) {
	for _, v := range values {
		if v {
			n++
		}
	}
	return n
}

// once renews the certificate once, or prints its state.
func (f *renewFlags) once(ctx context.Context, a front.App, r *renew.Renewer, key string) error {
	if f.status || f.ifDue {
		s, err := front.InterruptibleValue(ctx, key, func() (renew.Status, error) { return r.Status(ctx) })
		if err != nil {
			return err
		}
		if f.status || !s.IsDue(a.Now()) && s.Unsupported == nil {
			if !f.status && s.Undeployed {
				err = deployed(r.Deploy(ctx))
			}
			return errors.Join(f.print(a, s, false), err)
		}
	}
	renewed, err := front.InterruptibleValue(ctx, key, func() (*x509.Certificate, error) { return r.Renew(ctx) })
	s := r.Last()
	switch overdue := s.Certificate != nil && s.IsOverdue(a.Now()); {
	case renewed != nil:
		return errors.Join(f.print(a, s, true), deployed(err))
	case f.ifDue && !overdue && (errors.As(err, new(*renew.WaitError)) || errors.Is(err, renew.ErrInProgress)):
		return f.print(a, s, false) // a timer tries again
	case overdue && !errors.Is(err, renew.ErrInProgress):
		state := "it expires at "
		if a.Now().After(s.Certificate.NotAfter) {
			state = "it expired at "
		}
		return &front.CodeError{Code: front.ExitOverdue, Err: signer.WithHint(fmt.Errorf("the renewal of the certificate is overdue; %s%s: %w", state, day(s.Certificate.NotAfter), err), hintOf(err))}
	}
	return err
}

// deployed says that the certificate was renewed in spite of an error.
func deployed(err error) error {
	if err == nil {
		return nil
	}
	return signer.WithHint(fmt.Errorf("the new certificate is in use, but what follows a renewal failed: %w", err), hintOf(err)+"; it runs again with: holdfast renew --if-due")
}

func hintOf(err error) string {
	_, hint := front.Explain(err)
	return hint
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// A state is the output of --json.
type state struct {
	Renewed  bool   `json:"renewed"`
	Subject  string `json:"subject"`
	Serial   string `json:"serial"`
	NotAfter string `json:"not_after"`
	Obtained string `json:"obtained"`
	Due      string `json:"due"`
	Overdue  bool   `json:"overdue"`
	Next     string `json:"next"` // of the next try
	Failures int    `json:"failures"`
	Problem  string `json:"problem,omitempty"`

	Undeployed bool `json:"undeployed,omitempty"` // what follows a renewal has not succeeded
}

func (f *renewFlags) print(a front.App, s renew.Status, renewed bool) error {
	c := s.Certificate
	if f.asJSON {
		if s.Unsupported != nil {
			s.Problem = s.Unsupported.Error()
		}
		stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
		return front.WriteJSON(a.Stdout, state{renewed, c.Subject.String(), fmt.Sprintf("%x", c.SerialNumber.Bytes()), stamp(c.NotAfter),
			stamp(s.Obtained), stamp(s.Due), s.IsOverdue(a.Now()), stamp(s.Next), s.Failures, front.OneLine(s.Problem), s.Undeployed})
	}
	first := "certificate  "
	if renewed {
		first = "renewed      "
	}
	var b strings.Builder
	expires := "expires"
	if a.Now().After(c.NotAfter) {
		expires = "expired"
	}
	fmt.Fprintf(&b, "%s%s\nobtained     %s\ndue          %s\n%s      %s\n", first, front.OneLine(c.Subject.String()), day(s.Obtained), day(s.Due), expires, day(c.NotAfter))
	if s.Failures > 0 {
		fmt.Fprintf(&b, "failures     %d in a row: %s\nnext try     %s\n", s.Failures, front.OneLine(s.Problem), day(s.Next))
	}
	if s.Unsupported != nil {
		fmt.Fprintf(&b, "problem      %s\nhint         %s\n", front.OneLine(s.Unsupported.Error()), hintOf(s.Unsupported))
	}
	if s.IsWaiting() {
		fmt.Fprintf(&b, "requested    %s\n", front.OneLine(s.Problem))
	}
	if s.Undeployed {
		b.WriteString("unfinished   the certificate is in use, but what follows a renewal has not succeeded\n")
	}
	if s.IsOverdue(a.Now()) {
		b.WriteString("overdue      less than a sixth of its life is left\n")
	}
	_, err := a.Stdout.Write([]byte(b.String()))
	return err
}
