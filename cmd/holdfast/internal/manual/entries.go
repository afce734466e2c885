package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// An entry is an environment variable or a file in the pages of some commands.
type entry struct {
	name, text string
	in         []string // names of commands, and flags such as --cache of any command
}

func (e entry) appliesTo(cmd *cobra.Command) bool {
	return slices.ContainsFunc(e.in, func(in string) bool {
		if flag, ok := strings.CutPrefix(in, "--"); ok {
			return cmd.Flags().Lookup(flag) != nil
		}
		return strings.TrimPrefix(cmd.CommandPath(), "holdfast ") == in
	})
}

// Commands that get credentials have the flag --trust-anchor-arn, and those that open a
// key the flag --pin-source.
const (
	session = "--trust-anchor-arn"
	device  = "--pin-source"
)

// variables are the variables that docs/configuration.md and the pages of the commands
// describe.
var variables = []entry{
	{"AWS_CA_BUNDLE", "PEM file of CA certificates to trust instead of those of the system.", []string{"--ca-bundle"}},
	{"AWS_CONFIG_FILE", "File with the profiles of the AWS configuration, instead of ~/.aws/config.", []string{"doctor"}},
	{"AWS_ENDPOINT_URL", "Endpoint of each AWS service that has no variable of its own.", []string{session}},
	{"AWS_ENDPOINT_URL_ROLESANYWHERE", "Endpoint of IAM Roles Anywhere, if --endpoint is not given.", []string{session}},
	{"AWS_ENDPOINT_URL_STS", "Endpoint of STS for a second role, if --sts-endpoint is not given.", []string{session}},
	{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "If it is true, the variables with endpoints are ignored.", []string{session}},
	{"AWS_MAX_ATTEMPTS", "Maximum number of attempts of each call within --timeout.", []string{session}},
	{"AWS_PROFILE", "Profile to examine, if no settings are given.", []string{"doctor"}},
	{"AWS_REGION, AWS_DEFAULT_REGION", "Region of the command that is run; the default is that of the trust anchor.", []string{"exec"}},
	{"AWS_SHARED_CREDENTIALS_FILE", "Credentials file, instead of ~/.aws/credentials.", []string{"doctor", "update"}},
	{"AWS_USE_DUALSTACK_ENDPOINT", "If it is true, the same as --dual-stack.", []string{"--dual-stack"}},
	{"AWS_USE_FIPS_ENDPOINT", "If it is true, the same as --fips.", []string{"--fips"}},
	{"HOLDFAST_PINENTRY", "Program for --pin-source pinentry; the default is pinentry in PATH.", []string{device}},
	{"HOLDFAST_PKCS11_HELPER", "Absolute path of holdfast-pkcs11. It is used even if there is another one beside holdfast or in ../libexec/holdfast.", []string{"--pkcs11-isolation"}},
	{"HOLDFAST_PKCS11_ISOLATION", "Where PKCS #11 modules run, if --pkcs11-isolation is not given.", []string{"--pkcs11-isolation"}},
	{"HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "Proxy, unless --with-proxy=false is given.", []string{"--with-proxy"}},
	{"KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT", "Address of the API server, if --kubernetes-url is not given.", []string{"agent"}},
	{"LISTEN_FDS", "Sockets of systemd.", []string{"serve"}},
	{"NO_COLOR", "If it is not empty, the output has no colors.", []string{"doctor"}},
	{"NODE_NAME", "Name of the node, if --node-name is not given.", []string{"agent"}},
	{"NOTIFY_SOCKET, WATCHDOG_USEC", "Messages to systemd and its watchdog.", []string{"serve", "agent"}},
	{"PKCS11_MODULE_PATH", "File of the PKCS #11 module, if --pkcs11-lib is not given.", []string{"--pkcs11-lib"}},
	{"RUNTIME_DIRECTORY, XDG_RUNTIME_DIR", "Folder for the token file or the socket.", []string{"serve", "ssh-agent"}},
	{"SPIFFE_ENDPOINT_SOCKET", "Socket of the SPIFFE Workload API, for references without socket=.", []string{device}},
	{"SSH_ASKPASS, SSH_ASKPASS_REQUIRE, DISPLAY, WAYLAND_DISPLAY", "Program that asks the question of --confirm, and the desktop that it needs.", []string{"ssh-agent"}},
	{"SSH_AUTH_SOCK", "Socket of the ssh-agent, for references without socket=.", []string{device}},
	{"TPM_DEVICE", "TPM, for references without device=.", []string{device, "seal"}},
	{"XDG_CACHE_HOME", "Folder of the cache, instead of ~/.cache.", []string{"--cache", "cache", "cache show", "cache clear"}},
}

var files = []entry{
	{"~/.aws/config", "Profiles of AWS clients, of which one may run holdfast.", []string{"doctor"}},
	{"~/.aws/credentials", "File whose profile is written; credentials.holdfast.lock beside it is its lock.", []string{"update"}},
	{"~/.cache/holdfast", "Cache of --cache; see docs/cache.md for other systems than Linux.", []string{"--cache", "cache", "cache show", "cache clear"}},
	{"$XDG_RUNTIME_DIR/holdfast/serve-ADDRESS-PORT.token", "Token of the container credentials endpoint.", []string{"serve"}},
	{"$XDG_RUNTIME_DIR/holdfast/ssh-agent.sock", "Socket of the agent.", []string{"ssh-agent"}},
	{"ca/ca.toml", "Settings of the CA; see docs/ca.md.", []string{"ca", "ca init", "ca issue", "ca crl"}},
	{"../libexec/holdfast/holdfast-pkcs11", "Program in which PKCS #11 modules run, relative to the folder of holdfast.", []string{"--pkcs11-isolation"}},
}
