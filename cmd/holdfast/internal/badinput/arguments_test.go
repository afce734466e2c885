//go:build linux

package badinput

import (
	"os"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

func arnCases(*pki) (all []badInput) {
	kinds := []struct{ name, flag, good, form string }{
		{"trust anchor", "--trust-anchor-arn", anchorARN, ":trust-anchor/"},
		{"profile", "--profile-arn", profileARN, ":profile/"},
		{"role", "--role-arn", roleARN, ":role/"},
	}
	for _, k := range kinds {
		change := func(old, new string) string { return strings.Replace(k.good, old, new, 1) }
		add := func(name, arn string) {
			all = append(all, badInput{name: k.name + " ARN " + name, args: []string{k.flag, arn}, code: front.ExitUsage, culprit: k.name, hint: k.form})
		}
		add("missing", "")
		add("that is a name", "app")
		add("that is a URL", "https://console.aws.amazon.com/")
		add("of three parts", "arn:aws:iam")
		add("of bytes", strings.Repeat("\xff", 40))
		add("with another prefix", change("arn:", "urn:"))
		add("of another service", change(k.good[:strings.Index(k.good[8:], ":")+8], "arn:aws:s3"))
		add("with a bad partition", change(":aws:", ":AWS:"))
		add("without a partition", change(":aws:", "::"))
		add("with a bad account", change("111122223333", "11112222333"))
		add("without an account", change("111122223333", ""))
		add("with a bad ID", k.good+"/")
		add("without an ID", k.good[:strings.LastIndex(k.good, "/")+1])
		add("without a slash", change("/", ""))
		add("with a space at the end", k.good+" ")
		add("with a space at the start", " "+k.good)
		add("with quotes", `"`+k.good+`"`)
		add("with a line end", k.good+"\n")
		add("that steers the terminal", k.good+"\x1b]0;x\a\u202e")
		add("of 100 KiB", k.good+strings.Repeat("x", 100<<10))
		for _, other := range kinds {
			if other.name != k.name {
				add("is of a "+other.name, other.good)
			}
		}
	}
	inRegion := func(region, arn string) string { return strings.Replace(arn, "us-east-1", region, 1) }
	for _, c := range []struct{ name, region, hint string }{
		{"missing", "", ":REGION:"}, {"a word", "global", ":REGION:"}, {"in capitals", "US-EAST-1", ":REGION:"},
		{"another host", "us-east-1.evil.example", ":REGION:"}, {"of another partition", "cn-north-1", ":REGION:"},
	} {
		all = append(all, badInput{name: "trust anchor's region is " + c.name, args: []string{"--trust-anchor-arn", inRegion(c.region, anchorARN)},
			code: front.ExitUsage, culprit: "trust anchor", hint: c.hint})
	}
	return append(all,
		badInput{name: "role with a region", args: []string{"--role-arn", "arn:aws:iam:us-east-1:111122223333:role/app"}, code: front.ExitUsage, culprit: "role", hint: "arn:aws:iam::"},
		badInput{name: "role of bad characters", args: []string{"--role-arn", roleARN + "$(id)"}, code: front.ExitUsage, culprit: "role", hint: ":role/"},
		badInput{name: "role assumed already", args: []string{"--role-arn", "arn:aws:sts::111122223333:assumed-role/app/me"}, code: front.ExitUsage, culprit: "role", hint: ":role/"},
		badInput{name: "profile in another region", args: []string{"--profile-arn", inRegion("us-west-2", profileARN)}, code: front.ExitUsage, culprit: "us-west-2", hint: "region"},
		badInput{name: "region of the flag", args: []string{"--region", "eu-central-1"}, code: front.ExitUsage, culprit: "eu-central-1", hint: "--region"},
		badInput{name: "role in another partition", args: []string{"--role-arn", "arn:aws-us-gov:iam::111122223333:role/app"}, code: front.ExitUsage, culprit: "aws-us-gov", hint: "partition"},
	)
}

func argumentCases(p *pki) (all []badInput) {
	usage := func(culprit, hint string, args ...string) {
		all = append(all, badInput{name: strings.Join(args, " "), args: args, code: front.ExitUsage, culprit: culprit, hint: hint})
	}
	for _, d := range []string{"0", "-1", "899", "43201", "4294968196"} {
		usage("--session-duration "+d, "--help", "--session-duration", d)
	}
	usage("--session-duration", "43200", "--session-duration", "99999999999999999999")
	usage("--session-duration", "43200", "--session-duration", "1h")
	usage("--session-duration", "43200", "--session-duration=")
	for name, value := range map[string]string{"short": "a", "long": strings.Repeat("a", 65), "of bad characters": "a b", "with a line end": "ab\n", "of other letters": "größe"} {
		all = append(all, badInput{name: "session name " + name, args: []string{"--role-session-name", value}, code: front.ExitUsage, culprit: "64 letters", hint: "--help"})
	}
	usage("--timeout", "--help", "--timeout", "0")
	usage("--timeout", "--help", "--timeout", "-1s")
	usage("9s", "time limit", "--timeout", "abc")
	usage("9s", "time limit", "--timeout", "99999999999999999999h")
	usage("true or false", "endpoint", "--fips=maybe")
	usage("--no-such-flag", "credential-process --help", "--no-such-flag")
	usage("--private-keys", "did you mean --private-key?", "--private-keys", "x")
	usage("-x", "--help", "-x")
	usage("extra", "--help", "extra")
	usage("--role-arn", "--help", "--role-arn")
	for flag, hint := range map[string]string{
		"--cert-selector=Key=x509Subject,Value=CN=app": "PKCS #11", "--system-store-name=MY": "PKCS #11",
	} {
		name, _, _ := strings.Cut(flag, "=")
		all = append(all, badInput{name: flag, bare: true, args: []string{"credential-process", flag}, code: front.ExitUnavailable, culprit: name, hint: hint})
	}
	selector := func(code int, culprit, hint, value string, setup func(*scene)) {
		all = append(all, badInput{name: "selector " + value, bare: true, args: []string{"credential-process", "--cert-selector", value}, setup: setup, code: code, culprit: culprit, hint: hint})
	}
	selector(front.ExitUsage, "Key=NAME", "x509Subject", "CN=app", nil)
	selector(front.ExitUsage, "Key=NAME", "x509Subject", "Key=x509Subject", nil)
	selector(front.ExitUsage, "x509Serial", "--help", "Key=x509Other,Value=a", nil)
	selector(front.ExitUsage, "x509Serial", "--help", "Key=x509Serial,Value=12G4", nil)
	selector(front.ExitUsage, "x509Subject", "--help", "Key=x509Subject,Value=CN=a,", nil)
	selector(front.ExitUsage, "twice", "--help", "Key=x509Subject,Value=CN=a Key=x509Subject,Value=CN=b", nil)
	selector(front.ExitUsage, "x509Subject", "openssl", "Key=x509Subject,Value=/CN=a", nil)
	selector(front.ExitNotFound, "none.json", "name", "file://none.json", nil)
	selector(front.ExitUsage, "JSON", "--help", "file://bad.json", write("bad.json", []byte("[")))
	selector(front.ExitUsage, "/dev/null", "--help", "file:///dev/null", nil)
	selector(front.ExitUsage, "/dev/zero", "--help", "file:///dev/zero", nil)
	selector(front.ExitUsage, "huge.json", "--help", "file://huge.json", steps(write("huge.json"), func(s *scene) { s.must(os.Truncate(s.path("huge.json"), 3<<30)) }))
	selector(front.ExitUsage, "fifo", "--help", "file://fifo", func(s *scene) { s.must(syscall.Mkfifo(s.path("fifo"), 0o600)) })
	selector(front.ExitUnavailable, "--cert-selector", "PKCS #11", "file://good.json", write("good.json", []byte(`[{"Key":"x509Subject","Value":"CN=a"}]`)))
	all = append(all, badInput{name: "newest of nothing", bare: true, args: []string{"credential-process", "--use-latest-expiring-certificate"}, code: front.ExitUsage, culprit: "--private-key", hint: "--certificate"})
	usage("cert-selector", "one of", "--cert-selector", "x")
	for ref, culprit := range map[string]string{
		"winstore:location=here": "location", "winstore:label=app": "label", "winstore:subject=app": "subject", "winstore:subject=CN=a;b": "NAME=VALUE",
		"winstore:serial=12G4": "serial", "winstore:sha256=12": "sha256", "winstore:ui=yes": "ui", "winstore:key=a;subject=CN=a": "key",
		"winstore:provider=tpm": "provider", "winstore:store=a;store=b": "twice", "winstore:subject=CN=%zz": "percent",
	} {
		usage(culprit, "", "--private-key", ref)
		usage(culprit, "", "--certificate", ref)
	}
	usage("no-tpm-key-password", "one of", "--no-tpm-key-password", "--tpm-key-password", "x")

	for _, name := range []string{"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"} {
		all = append(all, badInput{name: name, env: []string{name + "=maybe"}, code: front.ExitUsage, culprit: name, hint: "true"},
			badInput{name: name + " with an endpoint", env: []string{name + "=true"}, code: front.ExitUsage, culprit: "endpoint", hint: "--endpoint"})
	}
	usage("endpoint", "--endpoint", "--fips")
	usage("aws-iso", "--dual-stack", "--endpoint=", "--dual-stack",
		"--trust-anchor-arn", strings.NewReplacer(":aws:", ":aws-iso:", "us-east-1", "us-iso-east-1").Replace(anchorARN),
		"--profile-arn", strings.NewReplacer(":aws:", ":aws-iso:", "us-east-1", "us-iso-east-1").Replace(profileARN),
		"--role-arn", strings.Replace(roleARN, ":aws:", ":aws-iso:", 1))
	for _, e := range []string{"{url}/sessions", "{url}/?x=1", "{url}#x", "ftp://{addr}", "unix:///run/holdfast", "https://", "http://:80", "https://[::1", "https://127.0.0.1:99999",
		"https://127.0.0.1:http", "https://ho st", "https://%zz", "http://192.0.2.1", "http://localhost.example", "http://0x7f000001", "https://h\x1b[2J"} {
		usage("endpoint", "https", "--endpoint", e)
	}
	for _, e := range []string{"https://user:" + testPassword + "@localhost", "https://user:" + testPassword + "%zz@localhost", "user:" + testPassword + "@localhost"} {
		usage("endpoint", "https", "--endpoint", e)
	}

	bundle := []string{"--ca-bundle", "ca.pem"}
	return append(all,
		badInput{name: "CA bundle missing", args: bundle, code: front.ExitNotFound, culprit: "ca.pem", hint: "name"},
		badInput{name: "CA bundle of the environment missing", env: []string{"AWS_CA_BUNDLE=ca.pem"}, code: front.ExitNotFound, culprit: "AWS_CA_BUNDLE ca.pem", hint: "name"},
		badInput{name: "CA bundle empty", args: bundle, setup: write("ca.pem"), code: front.ExitOther, culprit: "ca.pem", hint: "PEM"},
		badInput{name: "CA bundle is text", args: bundle, setup: write("ca.pem", []byte("none")), code: front.ExitOther, culprit: "ca.pem", hint: "PEM"},
		badInput{name: "CA bundle in DER", args: bundle, setup: write("ca.pem", p.ca.Cert.Raw), code: front.ExitOther, culprit: "ca.pem", hint: "PEM"},
		badInput{name: "CA bundle is a key", args: []string{"--ca-bundle", "key.pem"}, code: front.ExitOther, culprit: "key.pem", hint: "PEM"},
		badInput{name: "CA bundle cut", args: bundle, setup: write("ca.pem", p.caPEM[:len(p.caPEM)/2]), code: front.ExitOther, culprit: "ca.pem", hint: "PEM"},
		badInput{name: "CA bundle is a folder", args: bundle, setup: func(s *scene) { s.must(os.Mkdir(s.path("ca.pem"), 0o700)) }, code: front.ExitOther, culprit: "ca.pem", hint: "file"},
		badInput{name: "CA bundle is a FIFO", args: bundle, setup: func(s *scene) { s.must(syscall.Mkfifo(s.path("ca.pem"), 0o600)) }, code: front.ExitOther, culprit: "ca.pem", hint: "file"},
		badInput{name: "CA bundle is endless", args: []string{"--ca-bundle", "/dev/zero"}, code: front.ExitOther, culprit: "/dev/zero", hint: "file"},
		badInput{name: "CA bundle of 3 GiB", args: bundle, setup: steps(write("ca.pem"), func(s *scene) { s.must(os.Truncate(s.path("ca.pem"), 3<<30)) }), code: front.ExitOther, culprit: "ca.pem", hint: "name"},
	)
}
