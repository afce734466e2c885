//go:build unix

package doctor_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// No report contains a secret of the configuration or the environment. SECRET
// stands for it.
func TestSecrets(t *testing.T) {
	const flag = " --pkcs8-password SECRET"
	for _, c := range []setup{
		{name: "good line", prepare: profileWith(goodLine + flag)},
		{name: "joined", prepare: profileWith(goodLine + " --pkcs8-password=SECRET")},
		{name: "TPM", prepare: profileWith(goodLine + " --tpm-key-password SECRET")},
		{name: "variables of the environment", prepare: profileWith(goodLine + " --pkcs8-password $HF_PW --intermediates $AWS_SECRET_ACCESS_KEY"),
			env: []string{"HF_PW=SECRET", "AWS_SECRET_ACCESS_KEY=SECRET", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE"}},
		{name: "variable in a path", prepare: profileWith(goodLine + " --intermediates /x/${TOKEN}/y"), env: []string{"TOKEN=SECRET"}},
		{name: "variable named HOME beside a password", prepare: profileWith(goodLine + flag + " --intermediates $HOME/x")},
		{name: "program not in PATH", prepare: profileWith(strings.Replace(goodLine, "holdfast", "holdfsat", 1) + flag)},
		{name: "command forgotten", prepare: profileWith("holdfast " + goodFlags + flag)},
		{name: "comment", prepare: profileWith(goodLine + flag + " # x")},
		{name: "semicolon", prepare: profileWith(goodLine + flag + " ;")},
		{name: "semicolon in the secret", prepare: profileWith(goodLine + " --pkcs8-password SECRET;SECRET")},
		{name: "dollar in the secret", prepare: profileWith(goodLine + " --pkcs8-password x$SECRET")},
		{name: "comment in the secret", prepare: profileWith(goodLine + " --pkcs8-password 'SECRET #SECRET'")},
		{name: "backslash in the secret", prepare: profileWith(goodLine + ` --pkcs8-password "SECRET\SECRET"`)},
		{name: "command substitution", prepare: profileWith(goodLine + flag + " --intermediates $(x)a;b")},
		{name: "wrapper that does not exist", prepare: profileWith("/opt/wrapper --token SECRET --x")},
		{name: "wrapper", prepare: profileWith("/bin/sh --token SECRET --x")},
		{name: "unknown flag", prepare: profileWith(goodLine + " --pin SECRET")},
		{name: "PIN as a PIN source", prepare: profileWith(goodLine + " --pin-source SECRET1")},
		{name: "variable before the program", prepare: profileWith("DB_PASSWORD=SECRET " + goodLine)},
		{name: "whole line quoted", prepare: profileWith(`"` + goodLine + flag + `"`)},
		{name: "quote not closed", prepare: profileWith(goodLine + " --pkcs8-password 'SECRET")},
		{name: "several lines", prepare: profileWith(goodLine + "\n  --pkcs8-password SECRET")},
		{name: "several lines with an equals sign", prepare: profileWith(goodLine + "\n  --pkcs8-password=SECRET")},
		{name: "lines that are not indented", prepare: profileWith(goodLine + "\n--pkcs8-password SECRET=1\n--pkcs8-password SECRET=1")},
		{name: "backslash at the end of a line", prepare: profileWith(goodLine + flag + " \\\n  --cache")},
		{name: "file in the password", prepare: profileWith(goodLine + flag + " extra")},
		{name: "PIN as the source in a reference", prepare: profileWith(strings.Replace(goodLine, "{dir}/key.pem", "'pkcs11:token=x;object=y?module-path=/none.so&pin-source=SECRET1'", 1))},
		{name: "apostrophe in a URL", prepare: profileWith(goodLine + ` --endpoint "https://u:SECRET'SECRET@example.com"`)},
		{name: "proxy", prepare: profileWith(goodLine + " --endpoint https://u:SECRET@example.com")},
		{name: "keys in the profile", prepare: config(goodConfig + "aws_access_key_id = A\naws_secret_access_key = SECRET\n")},
		{name: "metadata endpoint", prepare: config(goodConfig), env: []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://u:SECRET@10.0.0.1/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, secret := range []string{"hunter22Secret", "hunterSECRETword"} {
				s := newScene(t)
				c := c
				c.args = app
				c.env = append([]string(nil), c.env...)
				for i := range c.env {
					c.env[i] = strings.ReplaceAll(c.env[i], "SECRET", secret)
					c.env[i] = strings.Replace(c.env[i], "AWS_"+secret+"_", "AWS_SECRET_", 1)
				}
				c.prepare(s)
				data, err := os.ReadFile(s.path(".aws/config"))
				if err != nil {
					t.Fatal(err)
				}
				text := strings.ReplaceAll(string(data), "SECRET", secret)
				s.write(".aws/config", strings.ReplaceAll(text, "AWS_"+secret+"_", "AWS_SECRET_"))
				out, _ := s.run(c)
				asJSON, _ := s.run(c, "--json")
				if !json.Valid([]byte(asJSON)) {
					t.Errorf("no JSON: %s", asJSON)
				}
				if strings.Contains(strings.ToLower(strings.Join(strings.Fields(out), "")+asJSON), strings.ToLower(secret)) {
					t.Errorf("the report has the secret: %s", out)
				}
			}
		})
	}
}
