package vending

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A variable is one of the environment that says where AWS clients find
// credentials, or which.
type variable struct {
	name   string // a * at the end stands for anything
	static bool   // with --env it is removed too
}

// removed are the variables that the child does not get from us. Precedence in
// the SDKs: keys in the environment, a profile, a web identity, the shared
// files, the container endpoint, the instance's metadata. With --env what comes
// after the keys does no harm and may be of use for calls with another profile.
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
	{"AMAZON_ACCESS_KEY_ID", true}, // older ones, which the SDKs for Ruby know
	{"AMAZON_SECRET_ACCESS_KEY", true},
	{"AMAZON_SESSION_TOKEN", true},
	{"AWS_CREDENTIAL_FILE", true}, // botocore asks it before the endpoint
	{"AWS_BEARER_TOKEN_*", true},  // comes before any signature
	{"AWS_PROFILE", true},         // the AWS CLI prefers a profile that is named
	{"AWS_DEFAULT_PROFILE", true},
	{"AWS_ROLE_ARN", true},
	{"AWS_ROLE_SESSION_NAME", true},
	{"AWS_WEB_IDENTITY_TOKEN_FILE", true},
	{"AWS_CONTAINER_*", true},
	{"AWS_EC2_METADATA_*", false}, // our endpoint comes before it
	{"AWS_SHARED_CREDENTIALS_FILE", false},
	{"BOTO_CONFIG", false},
}

// endpointVariables lead to an endpoint. The credentials file is hidden: keys of
// a [default] profile there would come first; so would those that botocore finds
// in the files of its predecessor.
func endpointVariables(uri, token string) []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + uri,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN=" + token,
		"AWS_EC2_METADATA_DISABLED=true", // nobody else's role if ours fails
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

// withoutVariables returns env without variables, such as those that hold the key or its
// PIN.
func withoutVariables(env, names []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(names, func(other string) bool { return sameVariable(other, name) })
	})
}

// childEnv returns env without what is removed, with added, and with a region.
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
	for _, pair := range [][2]string{{"AWS_REGION", "AWS_DEFAULT_REGION"}, {"AWS_DEFAULT_REGION", "AWS_REGION"}} {
		if regions[pair[0]] == "" {
			out = append(out, pair[0]+"="+cmp.Or(regions[pair[1]], region))
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
		if sameVariable(part, prefix) && (v.static || !static) {
			return true
		}
	}
	return false
}

// sameVariable compares names as the operating system does.
func sameVariable(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}
