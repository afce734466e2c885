// Package local implements the commands emulator and demo, which replace AWS on
// this machine. Within Holdfast it imports front, the credentials and emulator
// packages below rolesanywhere, and signer.
package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
)

// defaultListen is the default of --listen. It differs from the port of serve,
// so that both can run on one machine.
const defaultListen = "127.0.0.1:9910"

type emulatorFlags struct {
	configFile  string
	config      emulator.Config // values of the flags
	anchors     []string
	crls        []string
	policyFile  string
	caKey       string
	listen      string
	allowRemote bool
	events      string
	export      bool
}

// Emulator returns the command that runs a local Roles Anywhere.
func Emulator(a front.App) *cobra.Command {
	var f emulatorFlags
	cmd := &cobra.Command{
		Use:   "emulator",
		Short: "Run a local Roles Anywhere, IAM and STS for tests",
		Long: `Runs a local IAM Roles Anywhere with its control plane, IAM roles, STS,
LookupEvents of CloudTrail and, with --private-ca-key, AWS Private CA, for
learning and testing without an AWS account. It verifies certificates,
signatures and trust policies as AWS does. The credentials that it issues are
valid only for the emulator. It prints the credentials of its administrator, who
can create trust anchors, roles and profiles with the AWS CLI. It logs each
request to standard error, and runs until it receives SIGINT or SIGTERM.

With --trust-anchor there are also one profile and one role, and every
certificate of that CA can assume the role. With --config, the file says what
exists.`,
		Example: `  holdfast emulator
  umask 077; holdfast emulator --state folder --export >emulator.env
  holdfast emulator --trust-anchor ca.pem
  holdfast emulator --trust-anchor ca.pem --trust-policy trust.json
  holdfast emulator --config emulator.toml --latency 300ms --error-rate 0.2`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *emulatorFlags) add(all *pflag.FlagSet) {
	faults := &f.config.Faults
	front.ConfigFlags.Define(all, func(fs *pflag.FlagSet) {
		fs.StringVar(&f.configFile, "config", "", "TOML `file`; flags override it; see docs/emulator.md")
		front.ListVar(fs, &f.anchors, "trust-anchor", "PEM `file` with a CA certificate to trust; can be repeated")
		front.ListVar(fs, &f.crls, "crl", "`file` with a CRL of the first trust anchor; can be repeated")
		fs.StringVar(&f.caKey, "private-ca-key", "", "`file` with the key of a trust anchor in PEM, not encrypted: issue certificates as AWS Private CA does")
		fs.StringVar(&f.policyFile, "trust-policy", "", "JSON `file` with the trust policy of the role")
		fs.StringVar(&f.config.State, "state", "", "`folder` that keeps resources, sessions and events (default: memory)")
		fs.StringVar(&f.config.Region, "region", "", "AWS `region` (default: "+emulator.DefaultRegion+")")
		fs.StringVar(&f.config.Account, "account", "", "AWS `account` (default: "+emulator.DefaultAccount+")")
	})
	front.RefuseEmpty(all, "trust-anchor", "crl", "trust-policy", "state")
	front.ListenFlags.Define(all, func(fs *pflag.FlagSet) {
		fs.StringVar(&f.listen, "listen", defaultListen, "`address` to listen on, HOST:PORT; port 0 selects a free port")
		fs.BoolVar(&f.allowRemote, "allow-remote", false, "allow an address that other machines can reach")
		fs.BoolVar(&f.config.UI, "ui", false, "serve a page that shows resources, sessions, events and refused requests; only on this machine")
	})
	front.FaultFlags.Define(all, func(fs *pflag.FlagSet) {
		fs.DurationVar(&faults.Latency, "latency", 0, "delay each response of CreateSession and AWS Private CA by this `duration`")
		fs.Float64Var(&faults.ErrorRate, "error-rate", 0, "`fraction` of these requests that fail, 0 to 1")
		fs.IntVar(&faults.ErrorStatus, "error-status", 0, "HTTP `status` of requests that fail (default: 500)")
		fs.BoolVar(&faults.Hang, "hang", false, "never respond to CreateSession and AWS Private CA")
		fs.IntVar(&faults.InProgress, "in-progress", 0, "`number` of times that a certificate is requested before AWS Private CA has issued it")
		fs.DurationVar(&faults.SessionLifetime, "session-lifetime", 0, "`lifetime` of the credentials, regardless of the requested duration")
	})
	front.OutputFlags.Define(all, func(fs *pflag.FlagSet) {
		fs.BoolVar(&f.export, "export", false, "print only a script that sets the administrator's credentials; write it to a file, which another shell reads")
		fs.StringVar(&f.events, "events", "", "append CloudTrail-style events to this `file`, one JSON object per line; - writes them to standard error instead of the log")
	})
}

func (f *emulatorFlags) run(cmd *cobra.Command, a front.App) (err error) {
	cfg, err := f.resolve(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	cfg.Now = a.Now
	report := func(int) {}
	if f.events != "-" {
		direct := slog.New(&front.LogHandler{W: a.Stderr})
		report = func(n int) { direct.Warn(front.DroppedLines, "count", n) }
	}
	stderr := front.NewLogWriter(a.Stderr, report)
	defer stderr.Close()
	if f.events == "-" {
		cfg.Events = front.JSONWriter{W: stderr} // only JSON lines: no log
	} else {
		cfg.Logger = slog.New(&front.LogHandler{W: stderr, Level: slog.LevelInfo})
	}
	if f.events != "" && f.events != "-" {
		file, err := openEvents(f.events)
		if err != nil {
			return err
		}
		defer file.Close()
		cfg.Events = front.JSONWriter{W: file}
	}
	server, err := emulator.New(cfg)
	if err != nil {
		return configError(err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	l, err := loopback.Listen(cmd.Context(), f.listen, f.allowRemote)
	if errors.Is(err, loopback.ErrNotLoopback) {
		return signer.WithHint(front.Usagef("--listen: %w", err),
			"listen on 127.0.0.1; or use --allow-remote to accept unencrypted requests from other machines")
	}
	if err != nil {
		return signer.WithHint(fmt.Errorf("--listen: %w", err), listenHint(err))
	}
	if cfg.UI {
		if err := loopback.CheckLoopback(l); err != nil {
			return errors.Join(signer.WithHint(front.Usagef("--ui: %w", err),
				"the page needs no password: listen on 127.0.0.1, or leave out --ui"), l.Close())
		}
	}
	if err := f.announce(a.Stdout, l.Addr(), server); err != nil {
		return errors.Join(err, l.Close())
	}
	if cfg.Logger != nil {
		if why := front.OutputExposed(a.Stdout); why != "" {
			cfg.Logger.Warn("the file with the credentials of the administrator " + why + "; run umask 077 before the shell creates it, or chmod 600 on the file")
		}
		f.logStart(cfg.Logger, l.Addr(), server)
	}
	return server.Serve(cmd.Context(), l)
}

// listenHint returns the hint of an error of [loopback.Listen].
func listenHint(err error) string {
	var address *net.AddrError
	if errors.As(err, &address) {
		return "write the address as HOST:PORT, such as " + defaultListen + " or, with brackets, [::1]:9910"
	}
	return "another emulator may still be running: end it, or choose another address with --listen; port 0 selects a free port"
}

// openEvents opens a file for appending. It rejects a FIFO: to open one blocks
// until there is a reader, and signals do not interrupt it.
func openEvents(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, signer.WithHint(front.Usagef("--events %s: is a FIFO", path), "name a regular file, or use - for standard error")
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, front.Usagef("--events: %w", err)
	}
	return file, nil
}

// configError returns err as a usage error, unless a file does not exist or is
// not readable.
func configError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return err
	case errors.Is(err, emulator.ErrBasicConstraints):
		err = signer.WithHint(err, "a trust anchor is a CA certificate with basic constraints CA:TRUE and key usage keyCertSign")
	}
	return &front.UsageError{Err: err}
}

// resolve returns the configuration of the file with the settings that flags
// override.
func (f *emulatorFlags) resolve(given func(flag string) bool) (emulator.Config, error) {
	var cfg emulator.Config
	if f.configFile != "" {
		var err error
		if cfg, err = emulator.LoadConfig(f.configFile); err != nil {
			return cfg, configError(err)
		}
	}
	for flag, set := range map[string]func(){
		"ui":               func() { cfg.UI = f.config.UI },
		"state":            func() { cfg.State = f.config.State },
		"region":           func() { cfg.Region = f.config.Region },
		"account":          func() { cfg.Account = f.config.Account },
		"latency":          func() { cfg.Faults.Latency = f.config.Faults.Latency },
		"error-rate":       func() { cfg.Faults.ErrorRate = f.config.Faults.ErrorRate },
		"error-status":     func() { cfg.Faults.ErrorStatus = f.config.Faults.ErrorStatus },
		"hang":             func() { cfg.Faults.Hang = f.config.Faults.Hang },
		"in-progress":      func() { cfg.Faults.InProgress = f.config.Faults.InProgress },
		"private-ca-key":   func() { cfg.PrivateCA.KeyFile = f.caKey },
		"session-lifetime": func() { cfg.Faults.SessionLifetime = f.config.Faults.SessionLifetime },
		"trust-anchor":     func() { cfg.TrustAnchors = nil },
	} {
		if given(flag) {
			set()
		}
	}
	for _, file := range f.anchors {
		cfg.TrustAnchors = append(cfg.TrustAnchors, emulator.TrustAnchor{CertificateFiles: []string{file}})
	}
	if given("crl") {
		if len(cfg.TrustAnchors) == 0 {
			return cfg, signer.WithHint(front.Usagef("--crl without a trust anchor"), "name the file of the CA certificate: --trust-anchor ca.pem")
		}
		cfg.TrustAnchors[0].CRLFiles = f.crls
	}
	if f.policyFile != "" {
		switch len(cfg.Roles) {
		case 0:
			cfg.Roles = []emulator.Role{{}}
		case 1:
		default:
			return cfg, signer.WithHint(front.Usagef("--trust-policy cannot apply to all %d roles of %s", len(cfg.Roles), f.configFile),
				"set trust_policy_file of a role in that file")
		}
		cfg.Roles[0].TrustPolicy, cfg.Roles[0].TrustPolicyFile = "", f.policyFile
	}
	return cfg, nil
}

// privateCA returns the ARN of the CA, if there is one.
func privateCA(s *emulator.Server) []string {
	if arn := s.PrivateCAARN(); arn != "" {
		return []string{arn}
	}
	return nil
}

// announce prints the address, the credentials of the administrator and the ARNs to
// use, in a single write. The listener must already accept connections, because
// scripts wait for the first line.
func (f *emulatorFlags) announce(w io.Writer, addr net.Addr, s *emulator.Server) error {
	var b strings.Builder
	comment := ""
	if f.export {
		comment = "# "
	}
	url := "http://" + addr.String()
	fmt.Fprintf(&b, "%slistening on %s\n", comment, url)
	admin := s.Administrator()
	fmt.Fprintf(&b, "export AWS_ACCESS_KEY_ID=%s\n", admin.AccessKeyID)
	fmt.Fprintf(&b, "export AWS_SECRET_ACCESS_KEY=%s\n", admin.SecretAccessKey)
	fmt.Fprintf(&b, "export AWS_DEFAULT_REGION=%s\nexport AWS_ENDPOINT_URL=%s\nunset AWS_SESSION_TOKEN AWS_PROFILE\n", s.Region(), url)
	if !f.export {
		announceARNs(&b, url, s)
	}
	if f.config.UI {
		fmt.Fprintf(&b, "%spage: %s\n", comment, url+emulator.PagePath)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// logStart logs what a person does not see: with --export, standard output is a file,
// and a mistyped name of a state folder creates a new one.
func (f *emulatorFlags) logStart(log *slog.Logger, addr net.Addr, s *emulator.Server) {
	url := "http://" + addr.String()
	switch {
	case f.export && f.config.UI:
		log.Info("listening", "url", url, "page", url+emulator.PagePath)
	case f.export:
		log.Info("listening", "url", url)
	}
	if s.HasState() {
		log.Info("state read", "trust_anchors", len(s.TrustAnchorARNs()), "profiles", len(s.ProfileARNs()), "roles", len(s.RoleARNs()))
	}
}

// announceARNs prints the ARNs to use, and the next step.
func announceARNs(b *strings.Builder, url string, s *emulator.Server) {
	second := s.SecondRoleARNs()
	for _, group := range []struct {
		flag string
		arns []string
	}{
		{"--trust-anchor-arn", s.TrustAnchorARNs()},
		{"--profile-arn", s.ProfileARNs()},
		{"--role-arn", slices.DeleteFunc(s.RoleARNs(), func(arn string) bool { return slices.Contains(second, arn) })},
		{"--assume-role-arn", second},
		{"--ca-arn", privateCA(s)},
	} {
		for _, arn := range group.arns {
			fmt.Fprintf(b, "  %s %s\n", group.flag, arn)
		}
	}
	if anchors, profiles, roles := s.TrustAnchorARNs(), s.ProfileARNs(), s.RoleARNs(); len(anchors) > 0 && len(profiles) > 0 && len(roles) > 0 {
		fmt.Fprintf(b, "use with: holdfast credential-process --endpoint %s --certificate FILE --private-key FILE --trust-anchor-arn %s --profile-arn %s --role-arn %s\n",
			url, anchors[0], profiles[0], roles[0])
	} else {
		fmt.Fprintf(b, "create the first trust anchor: aws --endpoint-url %s rolesanywhere create-trust-anchor --enabled --name NAME --source \"sourceType=CERTIFICATE_BUNDLE,sourceData={x509CertificateData=$(cat ca.pem)}\"\n", url)
	}
}
