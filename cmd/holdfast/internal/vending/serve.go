package vending

import (
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
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/signer"
)

type serveFlags struct {
	role      role.Flags
	listen    string
	port      int
	logFormat front.LogFormat
	daemon    daemon.Config
}

// Serve returns the command that serves credentials to other programs.
func Serve(a front.App) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve credentials to the AWS clients on this machine",
		Long: `Obtains credentials, renews them before they expire, and serves them to AWS
clients in two ways: as a container credentials endpoint, which requires a
token, and as an instance metadata service (IMDSv2). It answers from memory. It
prints the environment variables that the clients need, and runs until it is
interrupted.

With --config, it serves several roles; see docs/serve.md. It reloads the keys
and certificates on SIGHUP and when their files change.`,
		Example: `  holdfast serve --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"

  holdfast serve --config /etc/holdfast/roles.toml \
      --status-listen 127.0.0.1:9912 --log-format json

  # in another shell, with the lines that serve prints:
  export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/credentials
  export AWS_CONTAINER_AUTHORIZATION_TOKEN="$(cat "$TOKEN_FILE")"
  aws sts get-caller-identity`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.role.Add(cmd)
	front.ListenFlags.Define(cmd.Flags(), f.addListening)
	front.OutputFlags.Define(cmd.Flags(), f.logFormat.Add)
	return cmd
}

func (f *serveFlags) addListening(fs *pflag.FlagSet) {
	fs.StringVar(&f.listen, "listen", daemon.DefaultListen, "`address` to listen on, HOST:PORT; port 0 selects a free port")
	fs.IntVar(&f.port, "port", daemon.DefaultPort, "`port` to listen on if --listen contains none")
	fs.BoolVar(&f.daemon.AllowRemote, "allow-remote", false, "allow addresses that other machines can reach; those machines can then obtain the credentials")
	front.ListVar(fs, &f.daemon.Hosts, "host", "additional host `name` that clients may use for this server; can be repeated")
	fs.IntVar(&f.daemon.HopLimit, "hop-limit", 64, "IP hop `limit` of responses, 1 to 255")
	fs.StringVar(&f.daemon.TokenFile, "token-file", "", "`file` with the token of the container endpoint; serve creates it if it does not exist (default: a file in $XDG_RUNTIME_DIR/holdfast or in the folder for temporary files)")
	fs.DurationVar(&f.daemon.Hold, "hold", 0, "how long a request of the container endpoint waits while there are no valid credentials, at most 10s, such as 1.5s (default: it does not wait)")
	fs.StringVar(&f.daemon.StatusListen, "status-listen", "", "`address` for a status page, /healthz, /readyz and /metrics, such as 127.0.0.1:9912 (default: none)")
}

func (f *serveFlags) run(cmd *cobra.Command, a front.App) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before slow calls: an early SIGHUP must not be lost
	defer signal.Stop(hangup)

	front.HideMemory()
	if err := f.check(cmd.Flags().Changed); err != nil {
		return err
	}
	var closeLog func()
	a.Log, closeLog = f.logFormat.Open(a.Stderr, f.role.Session.Debug)
	defer closeLog()
	a.Typed, a.LongRunning = new(front.TypedPINs), true
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
		return front.Usagef("--port %d is not in the range 0 to 65535", f.port)
	case f.daemon.HopLimit < 1 || f.daemon.HopLimit > 255:
		return front.Usagef("--hop-limit %d is not in the range 1 to 255", f.daemon.HopLimit)
	case f.daemon.Hold < 0 || f.daemon.Hold > service.MaxHold:
		return front.Usagef("--hold %v is not between 0s and %v", f.daemon.Hold, service.MaxHold)
	}
	if err := f.logFormat.Check(); err != nil {
		return err
	}
	switch {
	case given("listen"):
		f.daemon.Listen, err = listenAddress(f.listen, f.port, given("port"))
	case given("port"):
		f.daemon.Listen = net.JoinHostPort(daemon.DefaultHost, strconv.Itoa(f.port))
	}
	return err
}

const listenForms = "use HOST:PORT, for example " + daemon.DefaultListen + " or [::1]:9911"

// listenAddress returns the value of --listen as HOST:PORT. If it contains no
// port, the result has the port of --port.
func listenAddress(listen string, port int, portGiven bool) (string, error) {
	if strings.Contains(listen, "/") {
		return "", signer.WithHint(front.Usagef("--listen %s: not of the form HOST:PORT", listen),
			"AWS clients connect only over TCP; use an address such as "+daemon.DefaultListen)
	}
	host, own, err := net.SplitHostPort(listen)
	if i := strings.LastIndexByte(listen, ':'); i > 0 && net.ParseIP(listen) != nil && net.ParseIP(listen[:i]) != nil {
		return "", signer.WithHint(front.Usagef("--listen %s: the port cannot be told from the IPv6 address", listen),
			"put brackets around the address: ["+listen[:i]+"]"+listen[i:])
	}
	if err != nil { // for example an address without a port
		host, own = listen, strconv.Itoa(port)
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			host = host[1 : len(host)-1]
		}
		if strings.ContainsAny(listen, ":[]") && net.ParseIP(host) == nil {
			return "", signer.WithHint(front.Usagef("--listen: %w", err), listenForms)
		}
	} else if portGiven {
		return "", signer.WithHint(front.Usagef("--listen %s contains a port, and --port %d is also set", listen, port), "specify the port only once")
	}
	if n, err := strconv.Atoi(own); err != nil || n < 0 || n > 65535 {
		return "", signer.WithHint(front.Usagef("--listen %s: the port is not in the range 0 to 65535", listen), listenForms)
	}
	return net.JoinHostPort(host, own), nil
}
