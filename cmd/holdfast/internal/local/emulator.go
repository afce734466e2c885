// Package local has the commands that stand in for AWS on this machine:
// emulator and demo. Of Holdfast it imports the front and
// rolesanywhere/emulator with what that serves on.
package local

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
)

type emulatorFlags struct {
	configFile  string
	config      emulator.Config // what the flags say; its zero fields leave the file's
	anchors     []string
	crls        []string
	policyFile  string
	listen      string
	allowRemote bool
	events      string
}

// Emulator returns the command that runs a local Roles Anywhere.
func Emulator(a front.App) *cobra.Command {
	var f emulatorFlags
	cmd := &cobra.Command{
		Use:   "emulator",
		Short: "Run a local Roles Anywhere and STS that really verify",
		Long: `Runs a local IAM Roles Anywhere (CreateSession) and STS (GetCallerIdentity) for
tests and trials, without an AWS account. It verifies certificates, signatures
and trust policies as AWS does; the credentials that it issues are good for
itself alone. It prints the ARNs to use and runs until it is interrupted.

Without --config it trusts the CA given with --trust-anchor, has one profile
and one role, and lets every certificate of that CA assume it.`,
		Example: `  holdfast emulator --trust-anchor ca.pem
  holdfast emulator --trust-anchor ca.pem --trust-policy trust.json --events -
  holdfast emulator --config emulator.toml --latency 300ms --error-rate 0.2`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.configFile, "config", "", "TOML `file`; see docs/emulator.md")
	fs.StringArrayVar(&f.anchors, "trust-anchor", nil, "PEM `file` with the certificate of a CA to trust; repeatable")
	fs.StringArrayVar(&f.crls, "crl", nil, "`file` with a CRL of the first trust anchor; repeatable")
	fs.StringVar(&f.policyFile, "trust-policy", "", "JSON `file` with the trust policy of the role")
	fs.StringVar(&f.config.Region, "region", "", "`region` (default us-east-1)")
	fs.StringVar(&f.config.Account, "account", "", "`account` (default 111122223333)")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:9911", "`address` to listen on; port 0 takes a free one")
	fs.BoolVar(&f.allowRemote, "allow-remote", false, "really listen on an address that other machines reach")
	fs.StringVar(&f.events, "events", "", "`file` to add events to, in the form of CloudTrail's, one JSON object a line; - is standard error")
	fs.DurationVar(&f.config.Faults.Latency, "latency", 0, "wait so long before each answer")
	fs.Float64Var(&f.config.Faults.ErrorRate, "error-rate", 0, "`share` of requests to fail, 0 to 1")
	fs.IntVar(&f.config.Faults.ErrorStatus, "error-status", 0, "HTTP `status` of those (default 500)")
	fs.BoolVar(&f.config.Faults.Hang, "hang", false, "never answer CreateSession")
	fs.DurationVar(&f.config.Faults.SessionLifetime, "session-lifetime", 0, "lifetime of credentials, instead of what was asked for")
	return cmd
}

func (f *emulatorFlags) run(cmd *cobra.Command, a front.App) error {
	cfg, err := f.resolve()
	if err != nil {
		return err
	}
	cfg.Now = a.Now
	switch f.events {
	case "":
	case "-":
		cfg.Events = a.Stderr
	default:
		if info, err := os.Stat(f.events); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			// Opening it could wait for a reader, which no signal ends.
			return signer.WithHint(front.Usagef("--events %s is a FIFO", f.events), "name a file, or - for standard error")
		}
		file, err := os.OpenFile(f.events, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return front.Usagef("--events: %w", err)
		}
		defer file.Close()
		cfg.Events = file
	}
	server, err := emulator.New(cfg)
	if err != nil {
		return configError(err)
	}
	l, err := loopback.Listen(cmd.Context(), f.listen, f.allowRemote)
	if errors.Is(err, loopback.ErrNotLoopback) {
		return signer.WithHint(&front.UsageError{Err: err}, "anyone who reaches it can try certificates on it; if that is meant, add --allow-remote")
	}
	if err != nil {
		return err
	}
	if err := announce(a.Stdout, l.Addr(), server); err != nil {
		return errors.Join(err, l.Close())
	}
	return server.Serve(cmd.Context(), l)
}

// configError is wrong usage, unless a file is not there or not readable.
func configError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return err
	case errors.Is(err, emulator.ErrBasicConstraints):
		err = signer.WithHint(err, "a trust anchor is the certificate of a CA, with CA:TRUE and keyCertSign")
	}
	return &front.UsageError{Err: err}
}

// resolve lays the flags over the file.
func (f *emulatorFlags) resolve() (emulator.Config, error) {
	var cfg emulator.Config
	if f.configFile != "" {
		var err error
		if cfg, err = emulator.LoadConfig(f.configFile); err != nil {
			return cfg, configError(err)
		}
	}
	cfg.Region = cmp.Or(f.config.Region, cfg.Region)
	cfg.Account = cmp.Or(f.config.Account, cfg.Account)
	cfg.Faults.Latency = cmp.Or(f.config.Faults.Latency, cfg.Faults.Latency)
	cfg.Faults.ErrorRate = cmp.Or(f.config.Faults.ErrorRate, cfg.Faults.ErrorRate)
	cfg.Faults.ErrorStatus = cmp.Or(f.config.Faults.ErrorStatus, cfg.Faults.ErrorStatus)
	cfg.Faults.Hang = f.config.Faults.Hang || cfg.Faults.Hang
	cfg.Faults.SessionLifetime = cmp.Or(f.config.Faults.SessionLifetime, cfg.Faults.SessionLifetime)
	for _, file := range f.anchors {
		if file == "" {
			return cfg, signer.WithHint(front.Usagef("--trust-anchor is empty"), "give the CA's certificate, as in --trust-anchor ca.pem")
		}
		cfg.TrustAnchors = append(cfg.TrustAnchors, emulator.TrustAnchor{CertificateFiles: []string{file}})
	}
	if len(cfg.TrustAnchors) == 0 {
		return cfg, signer.WithHint(front.Usagef("no trust anchor"), "give the CA's certificate with --trust-anchor ca.pem")
	}
	cfg.TrustAnchors[0].CRLFiles = append(cfg.TrustAnchors[0].CRLFiles, f.crls...)
	if f.policyFile != "" {
		if len(cfg.Roles) > 0 {
			return cfg, front.Usagef("--trust-policy: the roles are in %s; set trust_policy_file there", f.configFile)
		}
		cfg.Roles = []emulator.Role{{TrustPolicyFile: f.policyFile}}
	}
	return cfg, nil
}

// announce prints what a person has to copy, in one write, once connections
// are accepted; a script waits for the first line.
func announce(w io.Writer, addr net.Addr, s *emulator.Server) error {
	var b strings.Builder
	fmt.Fprintf(&b, "listening on http://%s\n", addr)
	for _, group := range []struct {
		flag string
		arns []string
	}{
		{"--trust-anchor-arn", s.TrustAnchorARNs()},
		{"--profile-arn", s.ProfileARNs()},
		{"--role-arn", s.RoleARNs()},
	} {
		for _, arn := range group.arns {
			fmt.Fprintf(&b, "  %s %s\n", group.flag, arn)
		}
	}
	fmt.Fprintf(&b, "use with: holdfast credential-process --endpoint http://%s …\n", addr)
	_, err := io.WriteString(w, b.String())
	return err
}
