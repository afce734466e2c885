package flags

import (
	"fmt"
	"strconv"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// The variables of AWS clients for endpoints and retries, the variable that many
// programs read for the PKCS #11 module, and that for --pkcs11-isolation.
const (
	endpointVariable        = "AWS_ENDPOINT_URL"
	ignoreEndpointsVariable = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
	maxAttemptsVariable     = "AWS_MAX_ATTEMPTS"
	moduleVariable          = "PKCS11_MODULE_PATH"
	isolationVariable       = "HOLDFAST_PKCS11_ISOLATION"
)

// EndpointFromEnvironment returns the URL of the endpoint that the environment
// sets for a service, such as ROLESANYWHERE or STS, and the variable that sets
// it. The variable of the service has precedence over AWS_ENDPOINT_URL, and
// AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true disables both (AWS SDKs and Tools
// Reference Guide, "Service-specific endpoints"). It returns "" if none is set.
func EndpointFromEnvironment(a front.App, service string) (url, variable string, err error) {
	ignore, err := environmentBool{variable: ignoreEndpointsVariable}.fromEnvironment(a)
	if err != nil || ignore {
		return "", "", err
	}
	for _, variable := range []string{endpointVariable + "_" + service, endpointVariable} {
		if url := a.Env(variable); url != "" {
			return url, variable, nil
		}
	}
	return "", "", nil
}

// applyEnvironment sets the fields of c for which no flag is given and the
// environment has a value.
func applyEnvironment(a front.App, c *rolesanywhere.Config) error {
	if c.Endpoint == "" {
		url, variable, err := EndpointFromEnvironment(a, "ROLESANYWHERE")
		if err != nil {
			return err
		}
		if err := checkEnvironmentEndpoint(url, variable, *c); err != nil {
			return err
		}
		c.Endpoint = url
	}
	text := a.Env(maxAttemptsVariable)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return signer.WithHint(front.Usagef("environment variable %s: %q is not a positive whole number", maxAttemptsVariable, text),
			fmt.Sprintf("set it to a number from 1, or unset it; the default is %d", rolesanywhere.DefaultMaxAttempts))
	}
	c.MaxAttempts = int(n)
	return nil
}

// checkEnvironmentEndpoint checks the endpoint that a variable sets for a session
// with the configuration c. The error names the variable at fault.
// Otherwise the user would look for the fault in the flags.
func checkEnvironmentEndpoint(url, variable string, c rolesanywhere.Config) error {
	if url == "" {
		return nil
	}
	unset := "to use the endpoint of the region, unset the variable or set " + ignoreEndpointsVariable + "=true"
	if c.FIPS || c.DualStack {
		return signer.WithHint(front.Usagef("environment variable %s sets an endpoint, which cannot be combined with a FIPS or dual-stack endpoint", variable), unset)
	}
	if err := rolesanywhere.CheckEndpoint(url, c.Insecure); err != nil {
		return signer.WithHint(front.Usagef("environment variable %s: %w", variable, err), signer.Hint(err)+"; "+unset)
	}
	return nil
}
