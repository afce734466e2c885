package vending

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// Exec returns the command that runs another one with credentials.
func Exec(a front.App) *cobra.Command {
	var f role.Flags
	var static bool
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARGUMENT]...",
		Short: "Run a command that has credentials for as long as it runs",
		Long: `Obtains credentials and runs a command with them. The command gets them, and
new ones in time, from a container credentials endpoint on this machine, with a
token of its own. All other sources of AWS credentials are removed from its
environment. Nothing is written to disk. The exit code is the command's, or 128
plus the number of the signal that ended it.

With --env the command gets the credentials themselves in its environment. This
is for programs that know no endpoint, and lasts as long as the session.`,
		Example: `  holdfast exec --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN" -- aws s3 ls

  # a role of a configuration file:
  holdfast exec --config roles.toml --role app -- aws s3 ls

  # credentials in the environment:
  holdfast exec --env --config roles.toml --role app -- terraform plan`,
		Args: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error { return runExec(cmd, a, &f, static, args) },
	}
	f.Add(cmd)
	front.CredentialFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&static, "env", false, "put the credentials into the environment; they are not renewed there")
	})
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	return cmd
}

func runExec(cmd *cobra.Command, a front.App, f *role.Flags, static bool, args []string) error {
	if len(args) == 0 {
		return signer.WithHint(front.Usagef("no command is given"), "name it after the flags: holdfast exec … -- aws s3 ls")
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return signer.WithHint(err, "check the command's name and PATH")
	}
	a.Typed = new(front.TypedPINs)
	setup, err := f.Setup(cmd, a)
	if err != nil {
		return err
	}
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
	child.Env = withoutVariables(a.Environ(), setup.Key.Variables(a))
	if static {
		child.Env = childEnv(child.Env, staticVariables(first), r.Region, true)
		return runChild(cmd.Context(), child)
	}
	return execServed(cmd.Context(), a, r, child)
}

// execServed runs child with an endpoint of its own, besides its environment.
func execServed(ctx context.Context, a front.App, r *role.Role, child *exec.Cmd) (err error) {
	token := rand.Text()
	mux := http.NewServeMux()
	mux.Handle("/credentials", &container.Handler{Current: r.Cache.Current, Token: func() string { return token }, RoleARN: r.ARN})
	l, err := loopback.Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		return err
	}
	// Signals are the child's from now on.
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
	case broken := <-served:
		if broken != nil {
			a.Logger(false).Warn("the endpoint broke", "error", broken)
		}
	case <-time.After(time.Second): // whoever still asks is no child
	}
	return err
}

// runChild runs a command and passes signals on to it. The end of ctx counts
// only before the command starts.
func runChild(ctx context.Context, child *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	for _, s := range forwardedSignals {
		if !signal.Ignored(s) { // as nohup has it: the child inherits that
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return signer.WithHint(err, "check that the command is a program that this user may run")
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if !sentByTerminal(s) {
					_ = child.Process.Signal(s) // it may have ended
				}
			case <-ended:
				return
			}
		}
	}()
	err := child.Wait()
	close(ended)
	<-passed
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &front.StatusError{Code: exitCode(exit.ProcessState)}
	}
	return err
}
