package vending

import (
	"context"
	"crypto/rand"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/child"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/internal/environ"
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
		return child.NotRun(err)
	}
	if ran, err := child.AsFirst(cmd.Context(), a.Environ()); ran {
		return err
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

	command := exec.Command(path, args[1:]...)
	command.Args[0] = args[0]
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = environ.Without(a.Environ(), setup.Variables)
	if static {
		command.Env = childEnv(command.Env, staticVariables(first), r.Region, true)
		return child.Run(cmd.Context(), command)
	}
	return execServed(cmd.Context(), a, r, command)
}

// execServed runs command with its own credentials endpoint. It adds the
// variables of the endpoint to the environment of command.
func execServed(ctx context.Context, a front.App, r *role.Role, command *exec.Cmd) (err error) {
	token := rand.Text()
	mux := http.NewServeMux()
	mux.Handle("/credentials", &container.Handler{Current: r.Cache.Current, Token: func() string { return token }, RoleARN: r.ARN})
	l, err := loopback.Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		return err
	}
	// From here on, child.Run passes signals to the child; they do not cancel
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
	command.Env = childEnv(command.Env, endpointVariables("http://"+l.Addr().String()+"/credentials", token), r.Region, false)
	err = child.Run(ctx, command)
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
