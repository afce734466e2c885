//go:build unix

package sshagent

import (
	"context"
	"crypto"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// pinentry answers gpg-agent, which asks for a password for each key: none, because
// gpg-agent derives a key from a password for more than a second.
const pinentry = `#!/bin/sh
echo OK
while read -r command rest; do
	if [ "$command" = GETPIN ]; then echo "D "; fi
	echo OK
done
`

// openSSH encodes a private key.
func openSSH(t *testing.T, key crypto.Signer) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// TestGPGAgent opens the keys of gpg-agent.
func TestGPGAgent(t *testing.T) {
	program := signertest.Require(t, "gnupg", "gpg-agent")
	conf := signertest.Require(t, "gnupg", "gpgconf")
	add := signertest.Require(t, "openssh", "ssh-add")
	home, err := os.MkdirTemp("", "gpg") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("pinentry", pinentry, 0o700)
	write("gpg-agent.conf", "enable-ssh-support\npinentry-program "+filepath.Join(home, "pinentry")+"\n", 0o600)
	socket := filepath.Join(home, "S.gpg-agent.ssh")
	env := append(os.Environ(), "GNUPGHOME="+home, "SSH_AUTH_SOCK="+socket)
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	run(program, "--daemon", "-q")
	t.Cleanup(func() { run(conf, "--kill", "gpg-agent") })
	for _, kind := range []string{"rsa2048", "p256", "p384", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			private := signertest.Key(t, kind)
			write("key", openSSH(t, private), 0o600)
			run(add, "-q", filepath.Join(home, "key"))
			k := open(t, refTo(t, socket, private.Public()), keystore.Call{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range 2 {
						if _, err := k.SignMessageContext(ctx, nil, []byte("message"), sshwire.Algorithms(k.pub)[0].Hash); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}
