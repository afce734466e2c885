package main

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

type serveFlags struct {
	role         roleSetup
	configFile   string
	listen       string
	port         int
	hopLimit     int
	allowRemote  bool
	hosts        []string
	tokenFile    string
	statusListen string
	logFormat    string
}

func (a app) serve() *cobra.Command {
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
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runServe(cmd, &f) },
	}
	f.role.id.add(cmd)
	f.role.session.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.configFile, "config", "", "TOML `file` with several roles; flags fill in what it leaves out")
	fs.StringVar(&f.listen, "listen", "127.0.0.1", "`address` to listen on")
	fs.IntVar(&f.port, "port", 9911, "`port` to listen on; 0 takes a free one")
	fs.IntVar(&f.hopLimit, "hop-limit", 64, "how many `hops` answers may go, 1 to 255")
	fs.BoolVar(&f.allowRemote, "allow-remote", false, "really listen on an address that other machines reach")
	fs.StringArrayVar(&f.hosts, "host", nil, "further `name` that clients may call this server by; repeatable")
	fs.StringVar(&f.tokenFile, "token-file", "", "`file` with the token of the container endpoint; made if it is not there (default: one in $XDG_RUNTIME_DIR/holdfast)")
	fs.StringVar(&f.statusListen, "status-listen", "", "`address` for /healthz, /readyz and /metrics, such as 127.0.0.1:9912 (default: none)")
	fs.StringVar(&f.logFormat, "log-format", "text", "`format` of the log on standard error: text or json")
	return cmd
}

func (a app) runServe(cmd *cobra.Command, f *serveFlags) error {
	ctx := cmd.Context()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before anything takes time
	defer signal.Stop(hangup)

	if err := f.check(); err != nil {
		return err
	}
	a.log = newLog(a.stderr, f.logFormat, f.role.session.debug)
	a.typed = new(typedPINs)
	if err := f.role.session.complete(cmd, a); err != nil {
		return err
	}
	roles, err := setups(cmd, f.role, f.configFile)
	if err != nil {
		return err
	}
	d := &daemon{app: a, flags: f, log: a.log, hangup: hangup}
	defer d.close()
	return d.run(ctx, roles)
}

func (f *serveFlags) check() error {
	switch {
	case f.port < 0 || f.port > 65535:
		return usagef("--port %d is not from 0 to 65535", f.port)
	case f.hopLimit < 1 || f.hopLimit > 255:
		return usagef("--hop-limit %d is not from 1 to 255", f.hopLimit)
	case f.logFormat != "text" && f.logFormat != "json":
		return usagef("--log-format %q is neither text nor json", f.logFormat)
	}
	return nil
}

// newLog returns a log for programs and for people who read what programs wrote.
func newLog(w io.Writer, format string, debug bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if debug {
		opts.Level = slog.LevelDebug
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
