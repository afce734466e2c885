package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
)

// Demo returns the command that demonstrates Holdfast with an emulator.
func Demo(a front.App) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show how Holdfast works, on this machine only",
		Long: `Creates a CA and a client certificate, runs the emulator on a free port of
127.0.0.1, runs credential-process against it, and calls the STS of the emulator
with the credentials. All files are in a temporary folder, which is removed at
the end.`,
		Example: "  holdfast demo",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), a) },
	}
}

func runDemo(ctx context.Context, a front.App) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(a.Stdout, format+"\n", args...) }
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	pki, err := newDemoPKI(a.Now())
	if err != nil {
		return err
	}
	if err := pki.write(dir); err != nil {
		return err
	}
	say("1. Created a CA and a client certificate: ca.pem, cert.pem and key.pem in %s", dir)

	server, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{filepath.Join(dir, "ca.pem")}}},
		Now:          a.Now,
	})
	if err != nil {
		return err
	}
	l, err := loopback.Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving, l) }()
	defer func() { stop(); err = errors.Join(err, <-served) }()
	url := "http://" + l.Addr().String()
	say("2. Started a local Roles Anywhere, which verifies every signature: %s", url)

	args := []string{
		"credential-process", "--endpoint", url,
		"--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"),
		"--trust-anchor-arn", server.TrustAnchorARNs()[0],
		"--profile-arn", server.ProfileARNs()[0],
		"--role-arn", server.RoleARNs()[0],
	}
	say("3. Ran: holdfast %s", args[0])
	for i := 1; i < len(args); i += 2 {
		say("       %s %s", args[i], args[i+1])
	}
	var out bytes.Buffer
	b := a
	b.Stdout = &out
	if code := b.Run(ctx, args); code != 0 {
		return fmt.Errorf("credential-process exited with code %d", code)
	}
	say("   Its output, in the format of credential_process:")
	creds, err := parseDocument(out.Bytes())
	if err != nil {
		return err
	}
	say("%s", strings.Replace(strings.TrimSpace(out.String()), creds.SessionToken, shorten(creds.SessionToken), 1))
	identity, err := emulator.GetCallerIdentity(ctx, http.DefaultClient, url, creds, a.Now())
	if err != nil {
		return err
	}
	say("4. Called GetCallerIdentity of STS with these credentials: %s", identity.ARN)
	say("")
	say("The credentials work. Next, docs/quickstart.md does the same with your own CA,")
	say("first with the emulator and then with AWS. To read the code, start with")
	say("cmd/holdfast/internal/vending/credential_process.go.")
	return nil
}

// parseDocument parses the output of credential-process, as an AWS client does.
func parseDocument(document []byte) (credentials.Credentials, error) {
	var doc struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
	}
	err := json.Unmarshal(document, &doc)
	return credentials.Credentials{
		AccessKeyID:     doc.AccessKeyID,
		SecretAccessKey: doc.SecretAccessKey,
		SessionToken:    doc.SessionToken,
	}, err
}

// shorten returns the beginning of a session token and its length.
func shorten(token string) string {
	const shown = 16
	if len(token) <= shown {
		return token
	}
	return fmt.Sprintf("%s…(%d characters)", token[:shown], len(token))
}
