package vending

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/daemon"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
)

type serveFlags struct {
	role       role.Flags
	configFile string
	logFormat  string
	daemon     daemon.Config
}

// Serve returns the command that keeps credentials ready for other programs.
func Serve(a front.App) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Keep credentials ready for the AWS clients of this machine",
		Long: `Obtains credentials, renews them ahead of need, and gives them to AWS clients
in the two ways that these ask for: as the instance metadata service (IMDSv2)
and as the container credentials endpoint, which wants a token. Answers come
from memory. It prints the variables to set and runs until it is interrupted.

With --config it does so for several roles; see docs/serve.md. SIGHUP, and a
change of their files, have the key and the certificate read again.`,
		Example: `  holdfast serve --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN

  holdfast serve --config /etc/holdfast/roles.toml \
      --status-listen 127.0.0.1:9912 --log-format json

  # in another shell, as serve prints it:
  export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/credentials
  export AWS_CONTAINER_AUTHORIZATION_TOKEN="$(cat TOKEN-FILE)"
  aws s3 ls`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.role.Add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.configFile, "config", "", "TOML `file` with several roles; flags fill in what it leaves out")
	fs.StringVar(&f.daemon.Address, "listen", "127.0.0.1", "`address` to listen on")
	fs.IntVar(&f.daemon.Port, "port", 9911, "`port` to listen on; 0 takes a free one")
	fs.IntVar(&f.daemon.HopLimit, "hop-limit", 64, "how many `hops` answers may go, 1 to 255")
	fs.BoolVar(&f.daemon.AllowRemote, "allow-remote", false, "really listen on an address that other machines reach")
	fs.StringArrayVar(&f.daemon.Hosts, "host", nil, "further `name` that clients may call this server by; repeatable")
	fs.StringVar(&f.daemon.TokenFile, "token-file", "", "`file` with the token of the container endpoint; made if it is not there (default: one in $XDG_RUNTIME_DIR/holdfast)")
	fs.StringVar(&f.daemon.StatusListen, "status-listen", "", "`address` for /healthz, /readyz and /metrics, such as 127.0.0.1:9912 (default: none)")
	fs.StringVar(&f.logFormat, "log-format", "text", "`format` of the log on standard error: text or json")
	return cmd
}

func (f *serveFlags) run(cmd *cobra.Command, a front.App) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before anything takes time
	defer signal.Stop(hangup)

	if err := f.check(); err != nil {
		return err
	}
	a.Log = newLog(a.Stderr, f.logFormat, f.role.Session.Debug)
	a.Typed = new(front.TypedPINs)
	cfg := f.daemon
	cfg.Log, cfg.Reload = a.Log, hangup
	var err error
	if cfg.Roles, err = f.role.Setups(cmd, a, f.configFile); err != nil {
		return err
	}
	return daemon.Run(cmd.Context(), a, cfg)
}

func (f *serveFlags) check() error {
	switch {
	case f.daemon.Port < 0 || f.daemon.Port > 65535:
		return front.Usagef("--port %d is not from 0 to 65535", f.daemon.Port)
	case f.daemon.HopLimit < 1 || f.daemon.HopLimit > 255:
		return front.Usagef("--hop-limit %d is not from 1 to 255", f.daemon.HopLimit)
	case f.logFormat != "text" && f.logFormat != "json":
		return front.Usagef("--log-format %q is neither text nor json", f.logFormat)
	}
	return nil
}

// newLog returns a log for programs and for people who read what programs wrote.
func newLog(w io.Writer, format string, debug bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: front.HintAttr}
	if debug {
		opts.Level = slog.LevelDebug
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
