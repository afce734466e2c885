package flags

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// Session is the group of flags for the session and the connection to the
// service. All commands that create sessions have it.
type Session struct {
	config    rolesanywhere.Config
	fips      environmentBool
	dualStack environmentBool
	seconds   int
	caBundle  string
	proxy     bool
	Debug     bool
}

// An environmentBool is a flag whose default is the value of an environment
// variable.
type environmentBool struct {
	value          bool
	flag, variable string
}

// Add adds the flags to a command.
func (f *Session) Add(cmd *cobra.Command) {
	c := &f.config
	f.fips = environmentBool{flag: "fips", variable: "AWS_USE_FIPS_ENDPOINT"}
	f.dualStack = environmentBool{flag: "dual-stack", variable: "AWS_USE_DUALSTACK_ENDPOINT"}
	front.SessionFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&c.TrustAnchorARN, "trust-anchor-arn", "", "`ARN` of the trust anchor")
		fs.StringVar(&c.ProfileARN, "profile-arn", "", "`ARN` of the Roles Anywhere profile")
		fs.StringVar(&c.RoleARN, "role-arn", "", "`ARN` of the role to assume")
		fs.IntVar(&f.seconds, "session-duration", 0, "duration of the session in `seconds`, 900 to 43200 (default: the profile's)")
		fs.StringVar(&c.SessionName, "role-session-name", "", "`name` of the role session, if the profile accepts custom names (default: the serial number of the certificate)")
	})
	front.ServiceFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&c.Region, "region", "", "AWS `region` to sign for (default: the region of the trust anchor)")
		fs.StringVar(&c.Endpoint, "endpoint", "", "`URL` of the Roles Anywhere endpoint (default: AWS_ENDPOINT_URL_ROLESANYWHERE, AWS_ENDPOINT_URL, or the endpoint of the region)")
		fs.BoolVar(&f.fips.value, f.fips.flag, false, "use the FIPS endpoint; the same as "+f.fips.variable+"=true")
		fs.BoolVar(&f.dualStack.value, f.dualStack.flag, false, "use the dual-stack endpoint; the same as "+f.dualStack.variable+"=true")
		fs.StringVar(&f.caBundle, "ca-bundle", "", "PEM `file` of CA certificates to trust instead of the system's (default: AWS_CA_BUNDLE)")
		front.RefuseEmpty(fs, "ca-bundle")
		fs.BoolVar(&c.Insecure, "no-verify-ssl", false, "do not verify the server certificate, and allow plain http")
		fs.BoolVar(&f.proxy, "with-proxy", true, "use the proxy settings in HTTPS_PROXY and NO_PROXY")
		fs.DurationVar(&c.Timeout, "timeout", rolesanywhere.DefaultTimeout, "time limit for the device and all attempts")
		fs.DurationVar(&c.TouchTimeout, "touch-timeout", 0, "time for a signature, in which a person touches the device, enters a PIN on it or answers an ssh-agent; it does not count towards --timeout, and is at most 55s (default: 55s for an ssh-agent or a device with a keypad; otherwise the signature counts towards --timeout)")
	})
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&f.Debug, "debug", false, "log each step to standard error, without secrets")
	})
}

// Config returns the configuration from the flags and the environment. The
// caller completes it from a configuration file, checks it, and adds the
// Transport and the Signer.
func (f *Session) Config(cmd *cobra.Command, a front.App) (rolesanywhere.Config, error) {
	c := f.config
	var err error
	if c.FIPS, err = f.fips.get(cmd, a); err != nil {
		return c, err
	}
	if c.DualStack, err = f.dualStack.get(cmd, a); err != nil {
		return c, err
	}
	if cmd.Flags().Changed("session-duration") {
		if lo, hi := int(rolesanywhere.MinDuration/time.Second), int(rolesanywhere.MaxDuration/time.Second); f.seconds < lo || f.seconds > hi {
			return c, front.Usagef("--session-duration %d is not between %d and %d seconds", f.seconds, lo, hi)
		}
		c.Duration = time.Duration(f.seconds) * time.Second
	}
	if err := applyEnvironment(a, &c); err != nil {
		return c, err
	}
	if c.Timeout <= 0 {
		return c, front.Usagef("--timeout %v is not positive", c.Timeout)
	}
	if t := c.TouchTimeout; t < 0 || t > rolesanywhere.MaxTouchTimeout {
		return c, front.Usagef("--touch-timeout %v is not between 0s and %v", t, rolesanywhere.MaxTouchTimeout)
	}
	c.UserAgent = front.ReadBuild().UserAgent()
	c.Now = a.Now
	c.Logger = a.Logger(f.Debug)
	return c, nil
}

func (e environmentBool) get(cmd *cobra.Command, a front.App) (bool, error) {
	if cmd.Flags().Changed(e.flag) {
		return e.value, nil
	}
	return e.fromEnvironment(a)
}

// fromEnvironment returns the value of the variable, or e.value if it is not
// set. It accepts only true and false, in any case: the AWS SDKs do not agree
// about other texts, such as 1.
func (e environmentBool) fromEnvironment(a front.App) (bool, error) {
	text := a.Env(e.variable)
	if text == "" {
		return e.value, nil
	}
	on := strings.EqualFold(text, "true")
	if !on && !strings.EqualFold(text, "false") {
		return false, signer.WithHint(front.Usagef("environment variable %s: %q is neither true nor false", e.variable, keystore.Excerpt(text)), "set it to true or false")
	}
	return on, nil
}

// A Connection has the proxy and TLS settings for the service.
type Connection struct {
	bundle   []byte
	name     string // file name of the bundle; "": use the CAs of the system
	from     string // flag or variable that set the name
	noProxy  bool
	insecure bool
	single   bool
}

// Connection returns the connection settings. It reads the CA bundle.
func (f *Session) Connection(a front.App) (Connection, error) {
	c := Connection{name: f.caBundle, from: "--ca-bundle", noProxy: !f.proxy, insecure: f.config.Insecure}
	if c.name == "" {
		c.name, c.from = a.Env("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"
	}
	if c.name == "" {
		return c, nil
	}
	var err error
	c.bundle, err = keystore.ReadFile(c.name, keystore.MaxInput)
	return c, c.explain(err)
}

// Bundle returns the file name of the CA bundle, or "".
func (c Connection) Bundle() string { return c.name }

// NoProxy reports whether proxies are ignored.
func (c Connection) NoProxy() bool { return c.noProxy }

// SingleUse returns the settings for a process that sends one or two requests.
func (c Connection) SingleUse() Connection {
	c.single = true
	return c
}

// Transport returns a transport with these settings. It parses the CA bundle,
// which is slow.
func (c Connection) Transport() (http.RoundTripper, error) {
	t, err := rolesanywhere.NewTransport(rolesanywhere.TransportConfig{
		CABundle: c.bundle, NoProxy: c.noProxy, InsecureSkipVerify: c.insecure, SingleUse: c.single,
	})
	return t, c.explain(err)
}

// Trust identifies the servers that the transport trusts. It is part of the key
// of a cache entry.
func (c Connection) Trust(a front.App) string {
	trust := "system"
	if c.name == "" {
		trust += systemTrust(a)
	} else {
		trust = fmt.Sprintf("%x", sha256.Sum256(c.bundle))
	}
	if c.insecure { // then a proxy can be the impostor
		trust += fmt.Sprintf(" %t", c.noProxy)
		for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"} {
			trust += fmt.Sprintf(" %q", cmp.Or(a.Env(name), a.Env(strings.ToLower(name))))
		}
	}
	return trust
}

// systemTrust identifies the certificates in the files that crypto/x509 reads
// instead of the system's: the content of SSL_CERT_FILE, and the names, sizes
// and times of the files in SSL_CERT_DIR.
func systemTrust(a front.App) (id string) {
	if name := a.Env("SSL_CERT_FILE"); name != "" {
		data, err := keystore.ReadFile(name, keystore.MaxInput)
		id += fmt.Sprintf(" file %q %x %t", name, sha256.Sum256(data), err == nil)
	}
	for _, dir := range filepath.SplitList(a.Env("SSL_CERT_DIR")) {
		id += fmt.Sprintf(" folder %q", dir)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if info, err := os.Stat(filepath.Join(dir, f.Name())); err == nil {
				id += fmt.Sprintf(" %q %d %d", f.Name(), info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return id
}

func (c Connection) explain(err error) error {
	if err == nil {
		return nil
	}
	return signer.WithHint(fmt.Errorf("%s %s: %w", c.from, c.name, err),
		"check the name; the CA bundle must be a regular file of PEM certificates")
}
