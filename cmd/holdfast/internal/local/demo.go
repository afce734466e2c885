package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
)

// Demo returns the command that shows the whole way.
func Demo(a front.App) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole way on this machine, without AWS or hardware",
		Long: `Makes a CA and a client certificate, runs the emulator on a free loopback port,
runs credential-process against it, and calls the emulator's STS with the
credentials. Everything is in a temporary folder that is removed at the end.`,
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
	say("1. Made a CA and a client certificate: ca.pem, cert.pem and key.pem in %s", dir)

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
	say("2. Started a local Roles Anywhere that verifies every signature: %s", url)

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
		return fmt.Errorf("credential-process ended with exit code %d", code)
	}
	say("   which printed, for the credential_process of an AWS client:")
	if _, err := io.Copy(a.Stdout, bytes.NewReader(out.Bytes())); err != nil {
		return err
	}

	who, err := whoAmI(ctx, url, out.Bytes(), a.Now())
	if err != nil {
		return err
	}
	say("4. Asked STS with these credentials who we are: %s", who.ARN)
	say("")
	say("The credentials work. Next: docs/quickstart.md does the same with your own CA,")
	say("first against the emulator and then against AWS. In the code, begin at")
	say("cmd/holdfast/internal/vending/credential_process.go.")
	return nil
}

// whoAmI uses the printed document as an AWS client would, with nothing else.
func whoAmI(ctx context.Context, url string, document []byte, now time.Time) (emulator.Identity, error) {
	var doc struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return emulator.Identity{}, err
	}
	return emulator.GetCallerIdentity(ctx, http.DefaultClient, url, credentials.Credentials{
		AccessKeyID:     doc.AccessKeyID,
		SecretAccessKey: doc.SecretAccessKey,
		SessionToken:    doc.SessionToken,
	}, now)
}
