package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/imds"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
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
	if err := d.setUp(ctx, roles); err != nil {
		return err
	}
	return d.run(ctx)
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

// A daemon is what serve consists of.
type daemon struct {
	app    app
	flags  *serveFlags
	log    *slog.Logger
	hangup <-chan os.Signal

	listeners, status []net.Listener
	token             *authToken
	roles             []*role
	http, statusHTTP  *loopback.Server
	monitor           *monitor
}

// setUp opens everything. What fails soon and costs nobody anything comes first.
func (d *daemon) setUp(ctx context.Context, setups []roleSetup) error {
	if err := d.openListeners(ctx, setups); err != nil {
		return err
	}
	if err := d.flags.role.session.transport(d.app); err != nil {
		return err
	}
	for _, setup := range setups {
		setup.session.config.Transport = d.flags.role.session.config.Transport
		r, err := d.app.openRole(ctx, setup)
		if err != nil {
			if len(setups) > 1 {
				err = fmt.Errorf("role %s: %w", setup.name, err)
			}
			return err
		}
		d.roles = append(d.roles, r)
	}
	_, port, err := net.SplitHostPort(d.listeners[0].Addr().String())
	if err != nil {
		return err
	}
	if d.token, err = d.app.newAuthToken(d.flags.tokenFile, port, d.log); err != nil {
		return err
	}
	d.http = &loopback.Server{Handler: d.handler(), Hosts: d.flags.hosts, Logger: d.log}
	d.monitor = &monitor{roles: d.roles, server: d.http, started: d.app.now()}
	d.http.Observe = d.monitor.observe
	d.statusHTTP = &loopback.Server{Handler: d.monitor.handler(), Hosts: d.flags.hosts, Logger: d.log, MaxConns: 32}
	return nil
}

// openListeners takes the sockets of systemd, if there are any, and otherwise
// those that the flags name.
func (d *daemon) openListeners(ctx context.Context, setups []roleSetup) error {
	f := d.flags
	given, err := service{d.app}.listeners()
	if err != nil {
		return err
	}
	for name, ls := range given {
		if name == "status" {
			d.status = append(d.status, ls...)
		} else {
			d.listeners = append(d.listeners, ls...)
		}
	}
	if len(d.listeners) == 0 {
		l, err := loopback.Listen(ctx, net.JoinHostPort(f.listen, strconv.Itoa(f.port)), f.allowRemote)
		if err != nil {
			return listenError("--listen", err)
		}
		d.listeners = append(d.listeners, l)
	}
	for _, setup := range setups {
		if setup.port == 0 {
			continue
		}
		l, err := loopback.Listen(ctx, net.JoinHostPort(f.listen, strconv.Itoa(setup.port)), f.allowRemote)
		if err != nil {
			return listenError("port of role "+setup.name, err)
		}
		d.listeners = append(d.listeners, l)
	}
	if f.statusListen != "" && len(d.status) == 0 {
		l, err := loopback.Listen(ctx, f.statusListen, f.allowRemote)
		if err != nil {
			return listenError("--status-listen", err)
		}
		d.status = append(d.status, l)
	}
	for _, l := range append(d.listeners[:len(d.listeners):len(d.listeners)], d.status...) {
		if err := loopback.CheckLoopback(l); err != nil && !f.allowRemote {
			return listenError("a socket of systemd", err)
		}
		if err := limitHops(l, f.hopLimit); err != nil {
			return fmt.Errorf("--hop-limit: %w", err)
		}
	}
	return nil
}

func listenError(what string, err error) error {
	if errors.Is(err, loopback.ErrNotLoopback) {
		return signer.WithHint(usagef("%s: %w", what, err), "who reaches it can ask for credentials; if that is meant, add --allow-remote")
	}
	return signer.WithHint(err, "choose another address or port; port 0 takes a free one")
}

func limitHops(l net.Listener, limit int) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = setHopLimit(fd, limit) }); err != nil {
		return err
	}
	return set
}

// handler answers for every role below a path of its own and, if it has one, at
// its port. The container endpoint is also there for the first role without a
// path. The metadata service is so for a single role only: the AWS SDKs for Go
// and JavaScript leave out the path of AWS_EC2_METADATA_SERVICE_ENDPOINT, and
// would take the first role's credentials for another's.
func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	ports := make(map[int]http.Handler)
	tokens := imds.NewTokens(d.app.now)
	for i, r := range d.roles {
		metadata := &imds.Handler{Current: r.cache.Current, Role: r.name, RoleARN: r.arn, Region: r.region, Tokens: tokens}
		endpoint := &container.Handler{Current: r.cache.Current, Token: d.token.Value, RoleARN: r.arn}
		if len(d.roles) == 1 {
			mux.Handle("/latest/", metadata)
		}
		if i == 0 {
			mux.Handle("/credentials", endpoint)
		}
		prefix := "/roles/" + r.name
		mux.Handle(prefix+"/latest/", http.StripPrefix(prefix, metadata))
		mux.Handle(prefix+"/credentials", endpoint)
		if r.port != 0 {
			own := http.NewServeMux()
			own.Handle("/latest/", metadata)
			own.Handle("/credentials", endpoint)
			ports[r.port] = own
		}
	}
	if len(ports) == 0 {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && ports[addr.Port] != nil {
			ports[addr.Port].ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// run serves until ctx ends or a listener breaks.
func (d *daemon) run(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	for _, r := range d.roles {
		force := make(chan struct{}, 1)
		background.Go(func() { _ = r.cache.Run(serving) }) // returns serving's error
		background.Go(func() { r.source.watch(serving, r.files, r.loaded, force) })
		r.force = force
	}
	background.Go(func() { d.hangups(serving) })

	served := make(chan error, 2)
	servers := 1
	go func() { served <- d.http.Serve(serving, d.listeners...) }()
	if len(d.status) > 0 {
		servers++
		go func() { served <- d.statusHTTP.Serve(serving, d.status...) }()
	}
	if err := d.announce(); err != nil {
		stop()
		return errors.Join(err, <-served)
	}
	manager := service{d.app}
	background.Go(func() { manager.watchdog(serving, d.monitor.alive) })
	background.Go(func() {
		for _, r := range d.roles {
			select {
			case <-r.source.firstEnded:
			case <-serving.Done():
				return
			}
		}
		d.app.typed.stop()
		manager.notify("READY=1", "STATUS=serving "+strconv.Itoa(len(d.roles))+" role(s)")
	})

	var err error
	for range servers {
		err = errors.Join(err, <-served)
		if ctx.Err() != nil || err != nil {
			manager.notify("STOPPING=1")
		}
		stop()
	}
	return err
}

// hangups reloads all keys and certificates with each SIGHUP.
func (d *daemon) hangups(ctx context.Context) {
	for {
		select {
		case <-d.hangup:
			d.log.Info("SIGHUP: reloading keys and certificates")
			for _, r := range d.roles {
				select {
				case r.force <- struct{}{}:
				default: // one is about to begin
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// announce prints what a person has to paste, in one write, once connections
// are accepted; a program waits for the first line.
func (d *daemon) announce() error {
	base := baseURL(d.listeners[0].Addr())
	var b strings.Builder
	fmt.Fprintf(&b, "# listening on %s\n", base)
	for _, l := range d.status {
		fmt.Fprintf(&b, "# status at %s/healthz, /readyz and /metrics\n", baseURL(l.Addr()))
	}
	fmt.Fprintf(&b, "export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=%s\n", shellQuote(d.token.path))
	fmt.Fprintf(&b, "export AWS_CONTAINER_AUTHORIZATION_TOKEN=\"$(cat %s)\"\n", shellQuote(d.token.path))
	metadata := func(note, url string) {
		fmt.Fprintf(&b, "# or, for programs that know the instance metadata service only%s:\n", note)
		fmt.Fprintf(&b, "# export AWS_EC2_METADATA_SERVICE_ENDPOINT=%s/\n", url)
	}
	for _, r := range d.roles {
		if len(d.roles) == 1 {
			fmt.Fprintf(&b, "export AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/credentials\n", base)
			metadata("", base)
			continue
		}
		path := base + "/roles/" + r.name
		fmt.Fprintf(&b, "# role %s\nexport AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/credentials\n", r.name, path)
		if r.port != 0 {
			metadata("", baseURL(&net.TCPAddr{IP: d.listeners[0].Addr().(*net.TCPAddr).IP, Port: r.port}))
		} else {
			metadata(" (AWS CLI and boto3; others need a port for the role)", path)
		}
	}
	_, err := io.WriteString(d.app.stdout, b.String())
	return err
}

// baseURL names an address as a client of this machine may.
func baseURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// shellQuote leaves alone what no shell would change.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+=:@%,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// close releases what setUp opened.
func (d *daemon) close() {
	for _, l := range append(d.listeners, d.status...) {
		l.Close() // again, if it was served on
	}
	for _, r := range d.roles {
		r.source.Close()
	}
	if d.token != nil {
		d.token.Close()
	}
}
