package vending

import (
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/daemon"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/signer"
)

type serveFlags struct {
	role      role.Flags
	listen    string
	port      int
	logFormat string
	daemon    daemon.Config
}

// Serve returns the command that keeps credentials ready for other programs.
func Serve(a front.App) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Keep credentials ready for the AWS clients of this machine",
		Long: `Obtains credentials, renews them ahead of need, and gives them to AWS clients in
two ways: as the container credentials endpoint, which wants a token, and as the
instance metadata service (IMDSv2). It answers from memory. It prints the
variables to set for the clients, and runs until it is interrupted.

With --config it serves several roles; see docs/serve.md. It reads key and
certificate again after SIGHUP and when their files change.`,
		Example: `  holdfast serve --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"

  holdfast serve --config /etc/holdfast/roles.toml \
      --status-listen 127.0.0.1:9912 --log-format json

  # in another shell, as serve prints it:
  export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/credentials
  export AWS_CONTAINER_AUTHORIZATION_TOKEN="$(cat "$TOKEN_FILE")"
  aws sts get-caller-identity`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.role.Add(cmd)
	front.ListenFlags.Define(cmd.Flags(), f.addListening)
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.logFormat, "log-format", "text", "`format` of the log on standard error: text or json")
		front.MarkValues(fs.Lookup("log-format"), "text", "json")
	})
	return cmd
}

func (f *serveFlags) addListening(fs *pflag.FlagSet) {
	fs.StringVar(&f.listen, "listen", daemon.DefaultListen, "`address` to listen on, HOST:PORT; port 0 takes a free one")
	fs.IntVar(&f.port, "port", daemon.DefaultPort, "`port` to listen on, if --listen names none")
	fs.BoolVar(&f.daemon.AllowRemote, "allow-remote", false, "listen also on an address that other machines reach, which then can get the credentials")
	fs.StringArrayVar(&f.daemon.Hosts, "host", nil, "further `name` by which clients may call this server; repeatable")
	fs.IntVar(&f.daemon.HopLimit, "hop-limit", 64, "IP hop `limit` of responses, 1 to 255")
	fs.StringVar(&f.daemon.TokenFile, "token-file", "", "`file` with the token of the container endpoint; serve makes it if it is not there (default: one in $XDG_RUNTIME_DIR/holdfast)")
	fs.StringVar(&f.daemon.StatusListen, "status-listen", "", "`address` for /healthz, /readyz and /metrics, such as 127.0.0.1:9912 (default: none)")
}

func (f *serveFlags) run(cmd *cobra.Command, a front.App) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before anything takes time
	defer signal.Stop(hangup)

	if err := f.check(cmd.Flags().Changed); err != nil {
		return err
	}
	a.Log = newLog(a.Stderr, f.logFormat, f.role.Session.Debug)
	a.Typed = new(front.TypedPINs)
	cfg := f.daemon
	cfg.Log, cfg.Reload = a.Log, hangup
	var err error
	if cfg.Roles, err = f.role.Setups(cmd, a); err != nil {
		return err
	}
	return daemon.Run(cmd.Context(), a, cfg)
}

func (f *serveFlags) check(given func(flag string) bool) (err error) {
	switch {
	case f.port < 0 || f.port > 65535:
		return front.Usagef("--port %d is not from 0 to 65535", f.port)
	case f.daemon.HopLimit < 1 || f.daemon.HopLimit > 255:
		return front.Usagef("--hop-limit %d is not from 1 to 255", f.daemon.HopLimit)
	case f.logFormat != "text" && f.logFormat != "json":
		return front.Usagef("--log-format %q is neither text nor json", f.logFormat)
	}
	switch {
	case given("listen"):
		f.daemon.Listen, err = listenAddress(f.listen, f.port, given("port"))
	case given("port"):
		f.daemon.Listen = net.JoinHostPort(daemon.DefaultHost, strconv.Itoa(f.port))
	}
	return err
}

const listenForms = "write HOST:PORT, such as " + daemon.DefaultListen + " or [::1]:9911"

// listenAddress returns HOST:PORT of --listen, whose port --port gives if it is
// not there.
func listenAddress(listen string, port int, portGiven bool) (string, error) {
	if strings.Contains(listen, "/") {
		return "", signer.WithHint(front.Usagef("--listen %s: not an address and a port", listen),
			"AWS clients ask over TCP alone; write an address such as "+daemon.DefaultListen)
	}
	host, own, err := net.SplitHostPort(listen)
	if err != nil { // as an address alone is
		host, own = listen, strconv.Itoa(port)
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			host = host[1 : len(host)-1]
		}
		if strings.ContainsAny(listen, ":[]") && net.ParseIP(host) == nil {
			return "", signer.WithHint(front.Usagef("--listen: %w", err), listenForms)
		}
	} else if portGiven {
		return "", signer.WithHint(front.Usagef("--listen %s has a port, and --port %d is given", listen, port), "give the port once")
	}
	if n, err := strconv.Atoi(own); err != nil || n < 0 || n > 65535 {
		return "", signer.WithHint(front.Usagef("--listen %s: the port is not from 0 to 65535", listen), listenForms)
	}
	return net.JoinHostPort(host, own), nil
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
