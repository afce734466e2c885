package flags

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// config returns the configuration from flags and environment.
func config(t *testing.T, env map[string]string, args ...string) (rolesanywhere.Config, error) {
	t.Helper()
	var f Session
	cmd := new(cobra.Command)
	f.Add(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	a := app(env)
	a.Stderr = t.Output()
	return f.Config(cmd, a)
}

// The precedence is that of the AWS SDKs: the flag, the variable of the service,
// the general variable, the default. AWS_IGNORE_CONFIGURED_ENDPOINT_URLS
// disables the variables, but not the flag.
func TestPrecedenceOfEndpoints(t *testing.T) {
	const flag, service, general, other = "https://flag.example", "https://service.example", "https://general.example", "https://sts.example"
	for n := range 16 {
		want, wantSTS := "", ""
		env := map[string]string{"AWS_ENDPOINT_URL_STS": other, "AWS_ENDPOINT_URL_ROLES_ANYWHERE": "https://no.example"}
		var args []string
		if n&1 != 0 {
			env["AWS_ENDPOINT_URL"], want = general, general
		}
		if n&2 != 0 {
			env["AWS_ENDPOINT_URL_ROLESANYWHERE"], want = service, service
		}
		if wantSTS = other; n&4 != 0 {
			env["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"], want, wantSTS = "true", "", ""
		}
		if n&8 != 0 {
			args, want = []string{"--endpoint", flag}, flag
		}
		c, err := config(t, env, args...)
		if err != nil || c.Endpoint != want {
			t.Errorf("%q %v: %q, %v, want %q", args, env, c.Endpoint, err, want)
		}
		if got, _, err := EndpointFromEnvironment(app(env), "STS"); err != nil || got != wantSTS {
			t.Errorf("STS, %v: %q, %v, want %q", env, got, err, wantSTS)
		}
	}
	for value, want := range map[string]string{"": general, "false": general, "False": general, "TRUE": "", "tRuE": ""} {
		c, err := config(t, map[string]string{"AWS_ENDPOINT_URL": general, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": value, "AWS_ENDPOINT_URL_ROLESANYWHERE": ""})
		if err != nil || c.Endpoint != want {
			t.Errorf("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=%s: %q, %v, want %q", value, c.Endpoint, err, want)
		}
	}
}

// The AWS SDKs do not agree about these.
func TestBooleansAreTrueOrFalse(t *testing.T) {
	for _, name := range []string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"} {
		for _, value := range []string{"1", "0", "t", "yes", "true "} {
			if _, err := config(t, map[string]string{name: value}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: error %v", name, value, err)
			}
		}
	}
}

func TestPrecedenceOfMaxAttempts(t *testing.T) {
	for value, want := range map[string]int{"": 0, "1": 1, "10": 10, "2147483647": 2147483647} {
		if c, err := config(t, map[string]string{"AWS_MAX_ATTEMPTS": value}); err != nil || c.MaxAttempts != want {
			t.Errorf("%q: %d, %v, want %d", value, c.MaxAttempts, err, want)
		}
	}
}

// Errors name the variable at fault.
func TestRefusedEnvironment(t *testing.T) {
	ignore := map[string]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
	for _, test := range []struct {
		variable, value string
		args            []string
		harmless        []string // flags with which the value is not used
	}{
		{"AWS_MAX_ATTEMPTS", "0", nil, nil},
		{"AWS_MAX_ATTEMPTS", "-1", nil, nil},
		{"AWS_MAX_ATTEMPTS", "many", nil, nil},
		{"AWS_MAX_ATTEMPTS", "99999999999999999999", nil, nil},
		{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "maybe", nil, []string{"--endpoint", "https://a.example"}},
		{"AWS_ENDPOINT_URL", "ftp://a.example", nil, []string{"--endpoint", "https://a.example"}},
		{"AWS_ENDPOINT_URL", "https://user:s3same@a.example", nil, []string{"--endpoint", "https://a.example"}},
		{"AWS_ENDPOINT_URL_ROLESANYWHERE", "https://a.example/path", nil, []string{"--endpoint", "https://a.example"}},
		{"AWS_ENDPOINT_URL_ROLESANYWHERE", "http://a.example", nil, []string{"--no-verify-ssl"}},
		{"AWS_ENDPOINT_URL", "https://a.example", []string{"--fips"}, []string{"--fips=false"}},
		{"AWS_ENDPOINT_URL", "https://a.example", []string{"--dual-stack"}, []string{"--dual-stack=false"}},
	} {
		env := map[string]string{test.variable: test.value}
		_, err := config(t, env, test.args...)
		var usage *front.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), test.variable) || !strings.Contains(signer.Hint(err), "set ") {
			t.Errorf("%s=%s: %v, hint %q", test.variable, test.value, err, signer.Hint(err))
		}
		if err != nil && strings.Contains(err.Error()+signer.Hint(err), "s3same") {
			t.Errorf("the error contains the password: %v", err)
		}
		if test.harmless != nil {
			if _, err := config(t, env, append(test.args, test.harmless...)...); err != nil {
				t.Errorf("%s=%s with %q: %v", test.variable, test.value, test.harmless, err)
			}
		}
		if strings.HasPrefix(test.variable, endpointVariable) {
			env["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = ignore["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"]
			if _, err := config(t, env, test.args...); err != nil {
				t.Errorf("%v: %v", env, err)
			}
		}
	}
}

// The key of a cache entry depends on the endpoint, not on its source.
func TestCacheKeyFollowsEndpoint(t *testing.T) {
	key := func(env map[string]string, args ...string) string {
		t.Helper()
		const arn = "arn:aws:rolesanywhere:us-east-1:111122223333:"
		const id = "/00000000-0000-0000-0000-000000000001"
		c, err := config(t, env, append(args, "--trust-anchor-arn", arn+"trust-anchor"+id, "--profile-arn", arn+"profile"+id, "--role-arn", "arn:aws:iam::111122223333:role/app")...)
		if err != nil {
			t.Fatal(err)
		}
		key, err := c.CacheKey("identity", "trust")
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	const a = "https://a.example"
	none, byFlag := key(nil), key(nil, "--endpoint", a)
	for what, same := range map[string]bool{
		"service":          key(map[string]string{"AWS_ENDPOINT_URL_ROLESANYWHERE": a}) == byFlag,
		"general":          key(map[string]string{"AWS_ENDPOINT_URL": a}) == byFlag,
		"ignored":          key(map[string]string{"AWS_ENDPOINT_URL": a, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}) == none,
		"another service":  key(map[string]string{"AWS_ENDPOINT_URL_STS": a}) == none,
		"attempts":         key(map[string]string{"AWS_MAX_ATTEMPTS": "1"}) == none,
		"with and without": none != byFlag,
	} {
		if !same {
			t.Errorf("%s: wrong key", what)
		}
	}
}

// A module in a reference overrides the flag, which overrides the variable.
func TestPrecedenceOfModule(t *testing.T) {
	for _, test := range []struct{ ref, flag, variable, want string }{
		{"pkcs11:token=a", "", "", "pkcs11:token=a"},
		{"pkcs11:token=a", "", "/env.so", "pkcs11:token=a?module-path=/env.so"},
		{"pkcs11:token=a", "/flag.so", "/env.so", "pkcs11:token=a?module-path=/flag.so"},
		{"pkcs11:token=a?module-path=/ref.so", "/flag.so", "/env.so", "pkcs11:token=a?module-path=/ref.so"},
		{"pkcs11:token=a?module-name=ref", "", "/env.so", "pkcs11:token=a?module-name=ref"},
		{"key.pem", "", "/env.so", "key.pem"},
		{"tpm:path=key.pem", "", "/env.so", "tpm:path=key.pem"},
	} {
		a := app(map[string]string{"PKCS11_MODULE_PATH": test.variable})
		k := Key{modules: Modules{Module: test.flag}}
		var err error
		if k.Identity, err = parseIdentity("", test.ref, ""); err != nil {
			t.Fatal(err)
		}
		device := Device{Modules: Modules{Module: test.flag}}
		id, err := k.complete(a)
		alone, errAlone := device.Complete(a, k.Identity.Key)
		if err != nil || errAlone != nil || id.Key.String() != test.want || alone.String() != test.want {
			t.Errorf("%+v: %v, %v, %v, %v", test, id.Key, err, alone, errAlone)
		}
	}
}

// The reference overrides the flag, and the flag the variable. The name of a cache entry
// is the same in each process.
func TestPrecedenceOfIsolation(t *testing.T) {
	for _, test := range []struct{ ref, flag, variable, want string }{
		{"pkcs11:token=a", "", "", "pkcs11:token=a"},
		{"pkcs11:token=a", "", "on", "pkcs11:token=a?isolation=on"},
		{"pkcs11:token=a", "off", "on", "pkcs11:token=a?isolation=off"},
		{"pkcs11:token=a?module-path=/m.so", "auto", "never", "pkcs11:token=a?module-path=/m.so&isolation=auto"},
		{"pkcs11:token=a?isolation=auto", "off", "on", "pkcs11:token=a?isolation=auto"},
		{"key.pem", "on", "", "key.pem"},
		{"tpm:path=key.pem", "on", "", "tpm:path=key.pem"},
		{"pkcs11:token=a", "yes", "", ""},
		{"key.pem", "", "1", ""},
	} {
		a := app(map[string]string{"HOLDFAST_PKCS11_ISOLATION": test.variable})
		k := Key{modules: Modules{Isolation: test.flag}}
		var err error
		if k.Identity, err = parseIdentity("", test.ref, ""); err != nil {
			t.Fatal(err)
		}
		device := Device{Modules: k.modules}
		id, err := k.complete(a)
		alone, errAlone := device.Complete(a, k.Identity.Key)
		var usage *front.UsageError
		switch {
		case test.want == "" && (!errors.As(err, &usage) || !errors.As(errAlone, &usage) || signer.Hint(err) == ""):
			t.Errorf("%+v: %v, %v", test, err, errAlone)
		case test.want != "" && (err != nil || errAlone != nil || id.Key.String() != test.want || alone.String() != test.want):
			t.Errorf("%+v: %v, %v, %v, %v", test, id.Key, err, alone, errAlone)
		}
	}
	bare, isolated := Key{}, Key{modules: Modules{Isolation: "on"}}
	var err error
	if bare.Identity, err = parseIdentity("", "pkcs11:token=a", ""); err != nil {
		t.Fatal(err)
	}
	isolated.Identity = bare.Identity
	one, err := bare.Digest(t.Context(), app(nil), keystore.Options{})
	other, errOther := isolated.Digest(t.Context(), app(nil), keystore.Options{})
	if err != nil || errOther != nil || one != other {
		t.Errorf("digests %s and %s, errors %v and %v", one, other, err, errOther)
	}
}
