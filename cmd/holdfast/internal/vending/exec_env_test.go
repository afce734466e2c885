//go:build linux

package vending

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

func TestChildEnv(t *testing.T) {
	env := []string{
		"PATH=/bin", "HOME=/root", "EMPTY=", "AWS_PAGER=less", "AWS_CA_BUNDLE=/ca.pem", "AWS_CONFIG_FILE=/config", "AWS_ENDPOINT_URL=http://x",
		"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=x", "AWS_SECURITY_TOKEN=x", "AWS_CREDENTIAL_EXPIRATION=x",
		"AWS_CREDENTIAL_SCOPE=x", "AWS_ACCOUNT_ID=x", "AWS_ACCESS_KEY=x", "AWS_SECRET_KEY=x", "AMAZON_ACCESS_KEY_ID=x", "AMAZON_SECRET_ACCESS_KEY=x",
		"AMAZON_SESSION_TOKEN=x", "AWS_PROFILE=x", "AWS_DEFAULT_PROFILE=x", "AWS_ROLE_ARN=x", "AWS_ROLE_SESSION_NAME=x", "AWS_WEB_IDENTITY_TOKEN_FILE=x",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=x", "AWS_CONTAINER_CREDENTIALS_FULL_URI=x", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=x",
		"AWS_CREDENTIAL_FILE=x", "AWS_BEARER_TOKEN_BEDROCK=x",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=x", "AWS_SHARED_CREDENTIALS_FILE=x", "BOTO_CONFIG=x",
	}
	kept := env[:7]
	creds := credentials.Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "s", SessionToken: "t", Expires: time.Date(2026, 11, 21, 12, 0, 0, 1, time.UTC)}
	regions := []string{"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1"}
	for _, test := range []struct {
		name   string
		env    []string
		added  []string
		static bool
		want   []string
	}{
		{"endpoint", env, endpointVariables("http://127.0.0.1:1/credentials", "token"), false, slices.Concat(kept, []string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN=token",
			"AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "BOTO_CONFIG=/dev/null",
		}, regions)},
		{"static", env, staticVariables(creds), true, slices.Concat(kept, env[len(env)-3:], []string{
			"AWS_ACCESS_KEY_ID=ASIA1", "AWS_SECRET_ACCESS_KEY=s", "AWS_SESSION_TOKEN=t", "AWS_CREDENTIAL_EXPIRATION=2026-11-21T12:00:00Z",
		}, regions)},
		{"both regions are there", []string{"AWS_REGION=a", "AWS_DEFAULT_REGION=b"}, []string{"X=1"}, false, []string{"AWS_REGION=a", "AWS_DEFAULT_REGION=b", "X=1"}},
		{"one region is there", []string{"AWS_REGION=a"}, []string{"X=1"}, false, []string{"AWS_REGION=a", "X=1", "AWS_DEFAULT_REGION=a"}},
		{"the other region is there", []string{"AWS_DEFAULT_REGION=b"}, []string{"X=1"}, false, []string{"AWS_DEFAULT_REGION=b", "X=1", "AWS_REGION=b"}},
		{"names that begin alike", []string{"AWS_PROFILES=x", "AWS_ROLE_ARN_2=x"}, []string{"X=1"}, false, slices.Concat([]string{"AWS_PROFILES=x", "AWS_ROLE_ARN_2=x", "X=1"}, regions)},
	} {
		if got := childEnv(test.env, test.added, "eu-west-1", test.static); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}
