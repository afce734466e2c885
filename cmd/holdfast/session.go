package main

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// sessionFlags say which session to create and how to reach the service, in
// every command that creates sessions.
type sessionFlags struct {
	config   rolesanywhere.Config
	seconds  int
	caBundle string
	noVerify bool
	proxy    bool
	debug    bool

	bundle struct {
		name, from string // of the CA bundle; "": the system's
		pem        []byte
	}
}

func (f *sessionFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	c := &f.config
	fs.StringVar(&c.TrustAnchorARN, "trust-anchor-arn", "", "`ARN` of the trust anchor")
	fs.StringVar(&c.ProfileARN, "profile-arn", "", "`ARN` of the profile")
	fs.StringVar(&c.RoleARN, "role-arn", "", "`ARN` of the role to assume")
	fs.IntVar(&f.seconds, "session-duration", 0, "duration of the session in `seconds`, 900 to 43200 (default: the profile's)")
	fs.StringVar(&c.SessionName, "role-session-name", "", "`name` of the session, if the profile accepts one (default: the certificate's serial number)")
	fs.StringVar(&c.Region, "region", "", "`region` to sign for (default: the trust anchor's)")
	fs.StringVar(&c.Endpoint, "endpoint", "", "`URL` of the service (default: the region's)")
	fs.BoolVar(&c.FIPS, "fips", false, "use the FIPS endpoint; also AWS_USE_FIPS_ENDPOINT=true")
	fs.BoolVar(&c.DualStack, "dual-stack", false, "use the dual-stack endpoint; also AWS_USE_DUALSTACK_ENDPOINT=true")
	fs.StringVar(&f.caBundle, "ca-bundle", "", "PEM `file` of CAs to trust instead of the system's; also AWS_CA_BUNDLE")
	fs.BoolVar(&f.noVerify, "no-verify-ssl", false, "believe any server; also allows plain http")
	fs.BoolVar(&f.proxy, "with-proxy", true, "use the proxy that HTTPS_PROXY and NO_PROXY name")
	fs.DurationVar(&c.Timeout, "timeout", rolesanywhere.DefaultTimeout, "how long to try in all")
	fs.BoolVar(&f.debug, "debug", false, "tell each step on standard error, without secrets")
}

// resolve completes the config from the environment and checks it.
func (f *sessionFlags) resolve(cmd *cobra.Command, a app) error {
	if err := f.complete(cmd, a); err != nil {
		return err
	}
	return f.config.Check()
}

// complete is resolve without what depends on the ARNs.
func (f *sessionFlags) complete(cmd *cobra.Command, a app) error {
	c := &f.config
	for _, v := range []struct {
		flag *bool
		name string
	}{{&c.FIPS, "AWS_USE_FIPS_ENDPOINT"}, {&c.DualStack, "AWS_USE_DUALSTACK_ENDPOINT"}} {
		if s := a.env(v.name); s != "" && !*v.flag {
			on, err := strconv.ParseBool(s)
			if err != nil {
				return signer.WithHint(usagef("environment variable %s is %q", v.name, s), "set it to true or false")
			}
			*v.flag = on
		}
	}
	if cmd.Flags().Changed("session-duration") {
		if lo, hi := int(rolesanywhere.MinDuration/time.Second), int(rolesanywhere.MaxDuration/time.Second); f.seconds < lo || f.seconds > hi {
			return usagef("--session-duration %d is not from %d to %d seconds", f.seconds, lo, hi)
		}
		c.Duration = time.Duration(f.seconds) * time.Second
	}
	if c.Timeout <= 0 {
		return usagef("--timeout %v is not positive", c.Timeout)
	}
	c.Insecure = f.noVerify
	c.UserAgent = readBuild().userAgent()
	c.Now = a.now
	c.Logger = a.logger(f.debug)
	return nil
}

// readBundle needs the file system, and so comes after what needs nothing.
func (f *sessionFlags) readBundle(a app) error {
	f.bundle.name, f.bundle.from = f.caBundle, "--ca-bundle"
	if f.bundle.name == "" {
		f.bundle.name, f.bundle.from = a.env("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"
	}
	if f.bundle.name == "" {
		return nil
	}
	var err error
	f.bundle.pem, err = keystore.ReadFile(f.bundle.name, keystore.MaxInput)
	return f.bundleError(err)
}

func (f *sessionFlags) bundleError(err error) error {
	if err == nil {
		return nil
	}
	return signer.WithHint(fmt.Errorf("%s %s: %w", f.bundle.from, f.bundle.name, err),
		"check the name; it must be a regular file with certificates in PEM")
}

// transport parses the bundle, which takes its time.
func (f *sessionFlags) transport() (err error) {
	f.config.Transport, err = rolesanywhere.NewTransport(rolesanywhere.TransportConfig{
		CABundle: f.bundle.pem, NoProxy: !f.proxy, InsecureSkipVerify: f.noVerify,
	})
	return f.bundleError(err)
}

// connect is both, for commands that need the network in any case.
func (f *sessionFlags) connect(a app) error {
	if err := f.readBundle(a); err != nil {
		return err
	}
	return f.transport()
}

// trust stands for whom the transport believes.
func (f *sessionFlags) trust() string {
	if f.bundle.name == "" {
		return "system"
	}
	return fmt.Sprintf("%x", sha256.Sum256(f.bundle.pem))
}
