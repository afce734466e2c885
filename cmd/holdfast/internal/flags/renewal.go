package flags

import (
	"cmp"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// A Renewal says how a certificate is renewed. It comes from flags or from the
// table [role.renew] of a configuration file.
type Renewal struct {
	Way           string   `toml:"way"` // "": the certificate is not renewed
	CAURL         string   `toml:"ca_url"`
	CARoots       string   `toml:"ca_roots"`
	CALabel       string   `toml:"ca_label"`
	CARole        string   `toml:"ca_role"`
	CAMount       string   `toml:"ca_mount"`
	CANamespace   string   `toml:"ca_namespace"`
	CALoginRole   string   `toml:"ca_login_role"`
	CALoginMount  string   `toml:"ca_login_mount"`
	CAARN         string   `toml:"ca_arn"`
	CATemplate    string   `toml:"ca_template"`
	CAAlgorithm   string   `toml:"ca_algorithm"`
	CADays        int      `toml:"ca_days"`
	TrustAnchor   string   `toml:"trust_anchor"`
	Requests      string   `toml:"requests"`
	Command       []string `toml:"command"`
	Signed        bool     `toml:"signed"`
	DeployCommand []string `toml:"deploy_command"`
	Rekey         bool     `toml:"rekey"`
	AllowChange   bool     `toml:"allow_change"`
	StateFile     string   `toml:"state_file"`

	given map[string]bool // by flags, so that false replaces true of a file
}

// RenewalFlags is the group of flags for the renewal of a certificate.
type RenewalFlags struct {
	settings Renewal
	deploy   string
	flags    *pflag.FlagSet
}

// AddCA adds the flags that name the CA. ways are the values of --way.
func (f *RenewalFlags) AddCA(cmd *cobra.Command, ways []string) {
	f.flags = cmd.Flags()
	front.RenewalFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.settings.Way, "way", "", "`way` of getting the certificate: "+strings.Join(ways, ", "))
		front.MarkValues(fs.Lookup("way"), ways...)
		fs.StringVar(&f.settings.CAURL, "ca-url", "", "`URL` of the CA")
		fs.StringVar(&f.settings.CARoots, "ca-roots", "", "PEM `file` of the certificates that verify the server of the CA")
		fs.StringVar(&f.settings.CALabel, "ca-label", "", "`label` of the CA at an EST server with several")
		fs.StringVar(&f.settings.CARole, "ca-role", "", "`role` in Vault that signs the certificate")
		fs.StringVar(&f.settings.CAMount, "ca-mount", "", "`path` of the PKI secrets engine in Vault (default: pki)")
		fs.StringVar(&f.settings.CANamespace, "ca-namespace", "", "`namespace` in Vault")
	})
}

// addPrivateCA adds the flags about AWS Private CA.
func (f *RenewalFlags) addPrivateCA(fs *pflag.FlagSet) {
	fs.StringVar(&f.settings.CAARN, "ca-arn", "", "`ARN` of the CA of AWS Private CA")
	fs.StringVar(&f.settings.CATemplate, "ca-template", "", "`ARN` of the template of AWS Private CA (default: the one for TLS clients)")
	fs.StringVar(&f.settings.CAAlgorithm, "ca-algorithm", "", "`algorithm` by which AWS Private CA signs, such as SHA256WITHRSA (default: that of the certificate)")
	fs.IntVar(&f.settings.CADays, "ca-days", 0, "`number` of days for which AWS Private CA issues the certificate (default: those of the certificate)")
}

// Add adds the flags to a command. ways are the values of --way.
func (f *RenewalFlags) Add(cmd *cobra.Command, ways []string) {
	f.AddCA(cmd, ways)
	front.RenewalFlags.Define(cmd.Flags(), f.addPrivateCA)
	front.RenewalFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.settings.CALoginRole, "ca-login-role", "", "`role` of the auth method cert in Vault (default: that of --ca-role)")
		fs.StringVar(&f.settings.CALoginMount, "ca-login-mount", "", "`path` of the auth method cert in Vault (default: cert)")
		fs.StringVar(&f.settings.TrustAnchor, "trust-anchor", "", "`file` with the certificate of the CA to which the new certificate must lead (default: none; only the name of the CA is compared)")
		front.RefuseEmpty(fs, "trust-anchor")
		fs.StringVar(&f.settings.Requests, "requests", "", "`folder` for the requests to the CA and for its answers")
		fs.BoolVar(&f.settings.Signed, "signed", false, "send the program the request signed by the key in use (CMS), which holdfast ca issue --renew - needs")
		fs.StringVar(&f.deploy, "deploy-command", "", "`program` to run when the new certificate is in use; for arguments, use deploy_command in a configuration file")
		fs.BoolVar(&f.settings.Rekey, "rekey", false, "renew with a new key in the same file, TPM or token, which replaces the old one")
		fs.BoolVar(&f.settings.AllowChange, "allow-change", false, "accept a certificate with other names, usages or another issuer")
		fs.StringVar(&f.settings.StateFile, "state-file", "", "`file` for the state of the renewal (default: a file beside the certificate)")
	})
}

// Renewal returns the settings. args are the program of the way "command" and its
// arguments.
func (f *RenewalFlags) Renewal(args []string) Renewal {
	r := f.settings
	r.Command = args
	if f.deploy != "" {
		r.DeployCommand = []string{f.deploy}
	}
	for _, name := range []string{"rekey", "allow-change", "signed"} {
		if f.flags.Changed(name) {
			if r.given == nil {
				r.given = make(map[string]bool)
			}
			r.given[name] = true
		}
	}
	return r
}

// OrElse returns r with the missing settings from other.
func (r Renewal) OrElse(other Renewal) Renewal {
	for _, s := range []struct {
		dst   *string
		value string
	}{
		{&r.Way, other.Way}, {&r.CAURL, other.CAURL}, {&r.CARoots, other.CARoots},
		{&r.CALabel, other.CALabel}, {&r.CARole, other.CARole}, {&r.CAMount, other.CAMount}, {&r.CANamespace, other.CANamespace},
		{&r.CALoginRole, other.CALoginRole}, {&r.CALoginMount, other.CALoginMount},
		{&r.CAARN, other.CAARN}, {&r.CATemplate, other.CATemplate}, {&r.CAAlgorithm, other.CAAlgorithm},
		{&r.TrustAnchor, other.TrustAnchor}, {&r.Requests, other.Requests}, {&r.StateFile, other.StateFile},
	} {
		*s.dst = cmp.Or(*s.dst, s.value)
	}
	r.CADays = cmp.Or(r.CADays, other.CADays)
	if len(r.Command) == 0 {
		r.Command = other.Command
	}
	if len(r.DeployCommand) == 0 {
		r.DeployCommand = other.DeployCommand
	}
	for _, s := range []struct {
		name  string
		dst   *bool
		value bool
	}{
		{"rekey", &r.Rekey, other.Rekey}, {"allow-change", &r.AllowChange, other.AllowChange}, {"signed", &r.Signed, other.Signed},
	} {
		if !r.given[s.name] {
			*s.dst = s.value
		}
	}
	return r
}

// Rebase returns r with relative paths resolved against dir. A program without a
// separator in its name is looked for in PATH.
func (r Renewal) Rebase(dir string) Renewal {
	rebase := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	r.CARoots, r.TrustAnchor, r.Requests, r.StateFile = rebase(r.CARoots), rebase(r.TrustAnchor), rebase(r.Requests), rebase(r.StateFile)
	for _, args := range []*[]string{&r.Command, &r.DeployCommand} {
		if len(*args) > 0 && strings.ContainsRune((*args)[0], '/') {
			program := rebase((*args)[0])
			if abs, err := filepath.Abs(program); err == nil {
				program = abs // without a separator it would be looked for in PATH
			}
			*args = append([]string{program}, (*args)[1:]...)
		}
	}
	return r
}
