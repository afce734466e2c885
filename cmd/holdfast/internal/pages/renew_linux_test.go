package pages

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pki/renew/est/esttest"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/pki/renew/vault/vaulttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// smallCA returns a script that begins with the CA and the certificate of ca.md.
func smallCA(t *testing.T) string { return script(t, "ca.md", "A CA and a certificate") + "\n" }

// proveRenewal returns a script in which a command must bring another certificate.
func proveRenewal(t *testing.T, script, command string) string {
	t.Helper()
	if command == "" {
		return script
	}
	line := "\n" + command + "\n"
	if !strings.Contains(script, line) {
		t.Fatalf("no line is %q", command)
	}
	flags := strings.TrimPrefix(command, "holdfast renew ")
	return strings.Replace(script, line, fmt.Sprintf(`
serial() { holdfast renew --status --json %s | grep -o '"serial":"[0-9a-f]*"'; }
before=$(serial)
%s
after=$(serial)
test -n "$before" && test "$before" != "$after"
`, flags, command), 1)
}

// TestCommandsOfRenew runs the pages about renewals whose CA is a small one, or
// whose program asks OpenSSL's server for tests.
func TestCommandsOfRenew(t *testing.T) {
	for page, c := range map[string]struct{ before, section, after string }{
		"renew.md": {"cp cert.pem first.pem", "", "! cmp cert.pem first.pem"},
		"renew-program.md": {"printf '#!/bin/sh\\nexec holdfast ca issue --csr - --accept-csr-names\\n' >get-certificate\nchmod +x get-certificate", "What the program does",
			script(t, "renew-program.md", "CMP with OpenSSL") + "\n" + sameCertificate("cert.pem", "next.pem")},
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			signertest.Require(t, "openssl", "openssl")
			r := newReader(t)
			r.sendTo("http://127.0.0.1:1") // nothing is sent
			r.run(smallCA(t) + c.before + "\n" + script(t, page, c.section) + "\n" + c.after + "\n")
		})
	}
}

func sameCertificate(one, two string) string {
	return fmt.Sprintf("test \"$(openssl x509 -in %s -noout -serial)\" = \"$(openssl x509 -in %s -noout -serial)\"", one, two)
}

// TestProgramForCMP runs the program of the page against OpenSSL's server for
// tests, which is told what to answer.
func TestProgramForCMP(t *testing.T) {
	t.Parallel()
	signertest.Require(t, "openssl", "openssl")
	r := newReader(t)
	r.sendTo("http://127.0.0.1:1") // nothing is sent
	page, _, _ := strings.Cut(script(t, "renew-program.md", "CMP with OpenSSL"), "holdfast renew ")
	r.run(smallCA(t) + page + endSecondTerminal + `
sed 's/-msg_timeout 30 -total_timeout 90/-msg_timeout 5 -total_timeout 5/' get-certificate-cmp >impatient
grep -q 'total_timeout 5' impatient && chmod +x impatient
echo "another secret" >wrong-secret
# Another certificate of the machine authenticates the request, as the page says.
for name in device server; do
    holdfast generate --private-key $name-key.pem >public.pem
    holdfast csr --private-key $name-key.pem --subject CN=$name --out $name.csr
    holdfast ca issue --csr $name.csr --subject CN=$name --out $name.pem
done
sed 's|-ref "$4" -secret "file:$5"|-cert device.pem -key device-key.pem -trusted ca/ca.pem|' get-certificate-cmp >by-certificate
grep -q device-key.pem by-certificate && chmod +x by-certificate
# A certificate of an intermediate CA.
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
printf 'basicConstraints=critical,CA:TRUE\n' >ca.ext
openssl req -x509 $new -keyout root-key.pem -out root.pem -subj /CN=Root -days 1
openssl req $new -keyout issuer-key.pem -out issuer.csr -subj /CN=Issuer
openssl x509 -req -in issuer.csr -CA root.pem -CAkey root-key.pem -CAcreateserial -extfile ca.ext -out issuer.pem
openssl x509 -req -in app.csr -CA issuer.pem -CAkey issuer-key.pem -CAcreateserial -out below.pem`)
	const secret = "-srv_ref app -srv_secret file:cmp-secret"
	for _, c := range []struct {
		name, program, server, secret string
		code, certificates            int
		text                          string // on standard error
	}{
		{"issued", "get-certificate-cmp", secret, "cmp-secret", 0, 1, ""},
		{"issued with an issuer", "get-certificate-cmp", secret + " -rsp_cert below.pem -rsp_extracerts issuer.pem", "cmp-secret", 0, 2, ""},
		{"issued after polls", "get-certificate-cmp", secret + " -poll_count 2 -check_after 1", "cmp-secret", 0, 1, ""},
		{"issued to another certificate", "by-certificate", "-srv_cert server.pem -srv_key server-key.pem -srv_trusted ca/ca.pem", "none", 0, 1, ""},
		{"refused", "get-certificate-cmp", secret + " -pkistatus 2 -failure 2 -statusstring 'not known here'", "cmp-secret", 2, 0, "not known here"},
		{"an error", "get-certificate-cmp", secret + " -send_error", "cmp-secret", 2, 0, "rejection"},
		{"not yet", "impatient", secret + " -poll_count 100 -check_after 1", "cmp-secret", 5, 0, "total timeout"},
		{"another secret", "get-certificate-cmp", secret, "wrong-secret", 1, 0, "error validating protection"},
		{"another key", "get-certificate-cmp", secret + " -rsp_cert ca/ca.pem", "cmp-secret", 1, 0, "does not match"},
		{"no secret", "get-certificate-cmp", secret, "none", 1, 0, "none"},
		{"no server", "impatient", "", "cmp-secret", 3, 0, "onnect"},
	} {
		start := ""
		if c.server != "" {
			start = secondTerminal("openssl cmp -port 9913 -rsp_cert next.pem " + c.server + "\n")
		}
		r.run(start + fmt.Sprintf(`
code=0
mkdir tmp
TMPDIR=$PWD/tmp ./%s 127.0.0.1:9913 pkix/ '/CN=Example CA' app %s <app.csr >out 2>log || code=$?
echo "%s: code $code"
cat out log
rmdir tmp
test $code = %d
test "$(grep -c BEGIN out)" = %d
test $code != 5 || test "$(cat out)" = 1
test -z '%s' || grep -q -F -e '%[6]s' log
`, c.program, c.secret, c.name, c.code, c.certificates, c.text) + endSecondTerminal)
	}
}

// A server is a CA that a page asks. The page calls it by another URL, and reads the
// secret for the first certificate from a file.
type server struct {
	root         *signertest.CA
	url, calls   string
	file, secret string
}

func vaultServer(t *testing.T) server {
	ca := vaulttest.Start(t, time.Hour)
	return server{ca.Root, ca.URL, "https://vault.example.com:8200", "token", ca.Token()}
}

// prepare returns a script that writes the files of the administrator of the CA, and
// lets the page call it.
func (s server) prepare(r *reader) string {
	r.replace = append(r.replace, s.calls, s.url)
	return fmt.Sprintf("umask 077\ncat >root.pem <<'END'\n%sEND\necho '%s' >%s\n", signertest.CertPEM(s.root.Cert), s.secret, s.file)
}

// TestCommandsWithServers runs the pages about CAs that are servers.
func TestCommandsWithServers(t *testing.T) {
	for page, start := range map[string]func(*testing.T) server{
		"renew-est.md": func(t *testing.T) server {
			ca := esttest.Start(t, time.Hour)
			return server{ca.Root, ca.URL, "https://est.example.com", "password", esttest.User + ":" + esttest.Password}
		},
		"renew-step-ca.md": func(t *testing.T) server {
			ca := stepcatest.Start(t, time.Hour)
			return server{ca.Root, ca.URL, "https://ca.example.com", "token", ca.Token(t, stepcatest.Provisioner, "app")}
		},
		"renew-vault.md": vaultServer,
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			s, r := start(t), newReader(t)
			r.sendTo("http://127.0.0.1:1") // nothing is sent
			first, next, ok := strings.Cut(script(t, page, ""), "\nrm "+s.file+"\n")
			if !ok {
				t.Fatalf("the secret in %s is not removed", s.file)
			}
			r.run(s.prepare(r) + first + "\nrm " + s.file + "\ncp cert.pem first.pem\n" + next + "\n! cmp cert.pem first.pem\n")
		})
	}
}

// vaultProgram is in the place of the program of Vault. It sends what that sends.
const vaultProgram = `#!/bin/sh
test "$#" = 4 && test "$1 $2" = "write -format=json"
jq -n --rawfile csr "${4#csr=@}" '{csr: $csr}' >vault-request
code=$(curl --silent --output vault-answer --write-out '%{http_code}' --cacert "$VAULT_CACERT" \
    --header "X-Vault-Token: $VAULT_TOKEN" --data @vault-request "$VAULT_ADDR/v1/$3")
case $code in
200) cat vault-answer ;;
000) echo "Error writing data to $3: Put \"$VAULT_ADDR/v1/$3\": dial tcp: connect: connection refused" >&2 && exit 2 ;;
*) printf 'Error writing data to %s: Error making API request.\n\nURL: PUT %s\nCode: %s. Errors:\n\n* %s\n' "$3" "$VAULT_ADDR/v1/$3" "$code" "$(cat vault-answer)" >&2 && exit 2 ;;
esac
`

// TestProgramForVault runs the program of the page for the program of Vault.
func TestProgramForVault(t *testing.T) {
	t.Parallel()
	signertest.Require(t, "jq", "jq")
	signertest.Require(t, "curl", "curl")
	s, r := vaultServer(t), newReader(t)
	r.sendTo("http://127.0.0.1:1") // nothing is sent
	if err := clitest.WriteProgram(filepath.Join(r.bin, "vault"), []byte(vaultProgram)); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(script(t, "renew-vault.md", "The first certificate"), "\nrm token\n")
	r.run(s.prepare(r) + first + `
cp cert.pem first.pem
` + script(t, "renew-program.md", "Vault with its command-line program") + `
! cmp cert.pem first.pem
ends() {
    expected=$1 && shift && code=0
    mkdir tmp
    TMPDIR=$PWD/tmp "$@" <app.csr >out 2>log || code=$?
    cat log
    test "$code" = "$expected" && rmdir tmp
}
ends 0 ./get-certificate-vault token pki/sign/app
test "$(grep -c BEGIN out)" = 3
echo hvs.incorrect >wrong
ends 2 ./get-certificate-vault wrong pki/sign/app
grep 'Code: 403' log
ends 2 ./get-certificate-vault token pki/sign/other
grep 'unknown role' log
VAULT_ADDR=https://127.0.0.1:1 ends 3 ./get-certificate-vault token pki/sign/app
ends 1 ./get-certificate-vault none pki/sign/app
`)
}

// TestSettingsOfRenew reads every [role.renew] of the pages: all keys exist, and
// the way is complete.
func TestSettingsOfRenew(t *testing.T) {
	t.Parallel()
	const role = "[[role]]\nname = \"app\"\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\n" +
		"trust_anchor_arn = \"arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001\"\n" +
		"profile_arn = \"arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001\"\n" +
		"role_arn = \"arn:aws:iam::111122223333:role/app\"\n"
	r := newReader(t)
	r.sendTo("http://127.0.0.1:1") // nothing is sent
	r.replace = append(r.replace, "/mnt/ca/requests", "requests")
	all := smallCA(t) + "mkdir requests\ncp ca/ca.pem root.pem\n"
	found := 0
	for page, text := range documents(t) {
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			if b[1] != "toml" || !strings.Contains(b[2], "[role.renew]") {
				continue
			}
			settings := b[2]
			if !strings.Contains(settings, "[[role]]") {
				settings = role + settings
			}
			found++
			all += fmt.Sprintf("echo %s\ncat >roles.toml <<'END'\n%sEND\nholdfast renew --status --config roles.toml\n", page, settings)
		}
	}
	if found < 8 {
		t.Errorf("%d blocks", found)
	}
	r.run(all)
}
