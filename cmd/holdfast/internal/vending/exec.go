package vending

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// Exec returns the command that runs another command with credentials.
func Exec(a front.App) *cobra.Command {
	var f role.Flags
	var static bool
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARGUMENT]...",
		Short: "Run a command with automatically renewed credentials",
		Long: `Obtains credentials and runs a command with them. The command reads them from a
container credentials endpoint on this machine, which requires a token and
serves renewed credentials while the command runs. All other sources of AWS
credentials are removed from the command's environment. Nothing is written to
disk. The exit code is the exit code of the command, or 128 plus the number of
the signal that terminated it. It is 127 if the command is not found, and 126 if
it cannot be executed.

With --env, the credentials themselves are put into the environment of the
command. Use it for programs that do not support the endpoint. These credentials
are not renewed and expire with the session.`,
		Example: `  holdfast exec --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN" -- aws s3 ls

  # use a role from a configuration file:
  holdfast exec --config roles.toml --role app -- aws s3 ls

  # put the credentials into the environment:
  holdfast exec --env --config roles.toml --role app -- terraform plan`,
		Args: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error { return runExec(cmd, a, &f, static, args) },
	}
	f.Add(cmd)
	front.CredentialFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&static, "env", false, "put the credentials into the environment of the command; they are not renewed")
	})
	cmd.Flags().SetInterspersed(false) // flags after the command belong to it
	return cmd
}

func runExec(cmd *cobra.Command, a front.App, f *role.Flags, static bool, args []string) error {
	if len(args) == 0 {
		return signer.WithHint(front.Usagef("no command specified"), "add the command after the flags: holdfast exec … -- aws s3 ls")
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notRun(err)
	}
	front.HideMemory()
	a, flush := a.WithLogWriter()
	defer flush()
	a.Typed, a.LongRunning = new(front.TypedPINs), !static
	setup, err := f.Setup(cmd, a)
	if err != nil {
		return err
	}
	setup.Renewal = flags.Renewal{} // serve, update and renew do that
	r, err := setup.Open(cmd.Context(), a, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	first, err := r.Cache.Credentials(cmd.Context())
	if err != nil {
		return err
	}
	a.Typed.Stop()

	child := exec.Command(path, args[1:]...)
	child.Args[0] = args[0]
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = withoutVariables(a.Environ(), setup.Variables)
	if static {
		child.Env = childEnv(child.Env, staticVariables(first), r.Region, true)
		return runChild(cmd.Context(), child)
	}
	return execServed(cmd.Context(), a, r, child)
}

// The exit codes for a command that did not run (POSIX, Shell Command Language,
// section 2.8.2).
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// notRun returns err with the exit code of a shell that cannot run a command.
func notRun(err error) error {
	code, hint := exitNotExecutable, "check that the command is a program for this system, or a script whose first line names its interpreter, such as #!/bin/sh"
	var start *fs.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		code, hint = exitNotFound, "check the command's name and PATH"
	case errors.Is(err, fs.ErrNotExist) && errors.As(err, &start) && start.Op == "fork/exec": // of a file that exists
		code, hint = exitNotFound, "check the first line of the script: its interpreter does not exist"
	case errors.Is(err, fs.ErrNotExist):
		code, hint = exitNotFound, "check the command's name"
	case errors.Is(err, fs.ErrPermission):
		hint = "check the command's name, and make the file executable with chmod +x"
	}
	return &front.CodeError{Code: code, Err: signer.WithHint(err, hint)}
}

// execServed runs child with its own credentials endpoint. It adds the
// variables of the endpoint to the environment of child.
func execServed(ctx context.Context, a front.App, r *role.Role, child *exec.Cmd) (err error) {
	token := rand.Text()
	mux := http.NewServeMux()
	mux.Handle("/credentials", &container.Handler{Current: r.Cache.Current, Token: func() string { return token }, RoleARN: r.ARN})
	l, err := loopback.Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		return err
	}
	// From here on, runChild passes signals to the child; they do not cancel
	// the server.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	server := &loopback.Server{Handler: mux, Logger: a.Logger(false)}
	go func() { served <- server.Serve(serving, l) }()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.Keep(serving)
	}()
	child.Env = childEnv(child.Env, endpointVariables("http://"+l.Addr().String()+"/credentials", token), r.Region, false)
	err = runChild(ctx, child)
	stop()
	<-kept
	select {
	case serveErr := <-served:
		if serveErr != nil {
			a.Logger(false).Warn("the credentials endpoint failed", "error", serveErr)
		}
	case <-time.After(time.Second): // the command has ended and needs no more responses
	}
	return err
}

// runChild runs a command and forwards signals to it. If ctx is already done,
// the command is not started. Later, the end of ctx has no effect.
func runChild(ctx context.Context, child *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	for _, s := range forwardedSignals {
		if !signal.Ignored(s) { // the child inherits ignored signals, for example from nohup
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return notRun(err)
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if !sentByTerminal(s) {
					_ = child.Process.Signal(s) // the child may have exited
				}
			case <-ended:
				return
			}
		}
	}()
	code, err := wait(child)
	close(ended)
	<-passed
	if err == nil && code != 0 {
		err = &front.StatusError{Code: code}
	}
	return err
}

// waitAlone waits for a child and returns its exit code.
func waitAlone(child *exec.Cmd) (code int, err error) {
	err = child.Wait()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		return exitCode(child.ProcessState), nil
	}
	return 0, err
}
