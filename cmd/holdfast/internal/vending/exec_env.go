package vending

import (
	"cmp"
	"os"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/environ"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A variable is an environment variable that contains AWS credentials or
// selects their source.
type variable struct {
	name   string // a final * matches any suffix
	static bool   // also removed with --env
}

// removed lists the variables that the child does not inherit. The SDKs search
// for credentials in this order: keys in the environment, a profile, a web
// identity, the shared files, the container endpoint, the instance metadata
// service. With --env, sources after the keys are harmless, and the command may
// need them for calls with another profile.
var removed = []variable{
	{"AWS_ACCESS_KEY_ID", true},
	{"AWS_SECRET_ACCESS_KEY", true},
	{"AWS_SESSION_TOKEN", true},
	{"AWS_SECURITY_TOKEN", true},
	{"AWS_CREDENTIAL_EXPIRATION", true},
	{"AWS_CREDENTIAL_SCOPE", true},
	{"AWS_ACCOUNT_ID", true},
	{"AWS_ACCESS_KEY", true}, // old names of the SDK for Java
	{"AWS_SECRET_KEY", true},
	{"AMAZON_ACCESS_KEY_ID", true}, // older names that the SDKs for Ruby support
	{"AMAZON_SECRET_ACCESS_KEY", true},
	{"AMAZON_SESSION_TOKEN", true},
	{"AWS_CREDENTIAL_FILE", true}, // has precedence over the endpoint in botocore
	{"AWS_BEARER_TOKEN_*", true},  // has precedence over signatures
	{"AWS_PROFILE", true},         // a named profile has precedence in the AWS CLI
	{"AWS_DEFAULT_PROFILE", true},
	{"AWS_ROLE_ARN", true},
	{"AWS_ROLE_SESSION_NAME", true},
	{"AWS_WEB_IDENTITY_TOKEN_FILE", true},
	{"AWS_CONTAINER_*", true},
	{"AWS_EC2_METADATA_*", false}, // the container endpoint has precedence
	{"AWS_SHARED_CREDENTIALS_FILE", false},
	{"BOTO_CONFIG", false},
}

// endpointVariables returns the variables for a container credentials endpoint.
// It hides the credentials file, because keys in its [default] profile have
// precedence over the endpoint. It hides the configuration files of boto for
// the same reason.
func endpointVariables(uri, token string) []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + uri,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN=" + token,
		"AWS_EC2_METADATA_DISABLED=true", // no other role if the endpoint fails
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"BOTO_CONFIG=" + os.DevNull,
	}
}

func staticVariables(c credentials.Credentials) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + c.SessionToken,
		"AWS_CREDENTIAL_EXPIRATION=" + c.Expires.UTC().Format(time.RFC3339),
	}
}

// childEnv returns env without the removed variables, with the added ones, and
// with a region.
func childEnv(env, added []string, region string, static bool) []string {
	var out []string
	regions := make(map[string]string)
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		if !isRemoved(name, static) {
			out = append(out, v)
		}
		regions[name] = value
	}
	out = append(out, added...)
	for _, name := range [][2]string{{"AWS_REGION", "AWS_DEFAULT_REGION"}, {"AWS_DEFAULT_REGION", "AWS_REGION"}} {
		if regions[name[0]] == "" {
			out = append(out, name[0]+"="+cmp.Or(regions[name[1]], region))
		}
	}
	return out
}

func isRemoved(name string, static bool) bool {
	for _, v := range removed {
		prefix, any := strings.CutSuffix(v.name, "*")
		part := name
		if any && len(name) > len(prefix) {
			part = name[:len(prefix)]
		}
		if environ.Same(part, prefix) && (v.static || !static) {
			return true
		}
	}
	return false
}
