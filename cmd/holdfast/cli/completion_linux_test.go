package cli_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/ptytest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// bashCompletion is the script that completions for bash require.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// Tab completes flags and their values in each installed shell. The prompt is
// written in pieces, so that the echo of its definition does not contain it.
func TestCompletionInShells(t *testing.T) {
	var token []string // environment with a token of two keys and their certificates
	if tokens := clitest.TokenIdentities(t, signertest.NewCA(t, "root")); len(tokens) > 0 {
		_, module, _ := strings.Cut(tokens[0].Flags[1], "?module-path=")
		token = append(tokens[0].Env, "PKCS11_MODULE_PATH="+module)
	}
	for _, shell := range []struct {
		name  string
		args  []string
		setUp string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, `. ` + bashCompletion + `; source <(holdfast completion bash); PS1=re""ady"> "`},
		{"zsh", []string{"-f", "-i"}, `autoload -U compinit; compinit -u -D; source <(holdfast completion zsh); PS1=re""ady"> "`},
		{"fish", []string{"--no-config", "-i"}, `holdfast completion fish | source; function fish_prompt; printf re""ady"> "; end`},
	} {
		t.Run(shell.name, func(t *testing.T) {
			program := signertest.Require(t, shell.name, shell.name)
			if shell.name == "bash" {
				if _, err := os.Stat(bashCompletion); err != nil {
					signertest.Skip(t, "bash-completion", err)
				}
			}
			dir := t.TempDir()
			for _, name := range []string{"certificate.pem", "my-tool.pem"} {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"my-tool", "my-command"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "roles.toml"), []byte("[[role]]\nname = \"backup\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			master, slave := ptytest.New(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // ends the shell, so that reads from it fail
			defer cancel()
			cmd := exec.CommandContext(ctx, program, shell.args...)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":" + dir, "HOME=" + dir, "TERM=xterm", "LC_ALL=C.UTF-8"}
			cmd.Env = append(cmd.Env, token...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			slave.Close()
			t.Cleanup(func() {
				cmd.Process.Kill()
				_ = cmd.Wait()
			})
			const prompt = "ready> "
			press := func(keys, result string) { // waits for the result and the next prompt
				t.Helper()
				if _, err := master.WriteString(keys); err != nil {
					t.Fatal(err)
				}
				ptytest.ReadUntil(t, master, result, prompt)
			}
			press(shell.setUp+"\r", "")
			// Ctrl-A goes to the start of the line.
			const show = "\x01printf '[%s]' \r"
			for _, line := range []struct{ typed, completed string }{
				{"holdfast serve --log-fo\t", "[holdfast][serve][--log-format]"},
				{"holdfast serve --log-format js\t", "[--log-format][json]"},
				{"holdfast generate --key-type rsa20\t", "[--key-type][rsa2048]"},
				{"holdfast credential-process --cache=key\t", "[--cache=keyring]"},
				{"holdfast list --pin-source pro\t", "[--pin-source][prompt]"},
				{"holdfast credential-process --certificate cert\t", "[--certificate][certificate.pem]"},
				{"holdfast emul\t", "[holdfast][emulator]"},
				{"holdfast ca iss\t", "[holdfast][ca][issue]"},
				{"holdfast serve --config ro\t --role ba\t", "[roles.toml][--role][backup]"},
				{"holdfast list --pin-source file:cert\t", "[file:certificate.pem]"},
				{"holdfast list --in pkc\t", "[--in][pkcs11:]"},
				{"holdfast exec --config roles.toml -- cat cert\t", "[--][cat][certificate.pem]"},
				{"holdfast exec -- ./my-com\t", "[--][./my-command]"},
				{"holdfast ssh-agent -- my-tool cert\t", "[my-tool][certificate.pem]"},
				{"holdfast verify --certificate pkcs11:\tp\t", ";object=p256;type=cert;id="},
				{"holdfast verify --certificate=pkcs11:\tr\t", ";object=rsa2048;type=cert;id="},
			} {
				if token == nil && strings.Contains(line.completed, "object=") {
					continue
				}
				press(line.typed+show, line.completed)
			}
			if shell.name == "bash" { // also without the package bash-completion
				press("holdfast exec -- my-too\t"+show, "[exec][--][my-tool]")
				press("holdfast verify-blob -- my-too\t.\t"+show, "[verify-blob][--][my-tool.pem]") // files
				press("unset -f _command_offset _comp_command_offset\r", "")
				press("holdfast exec -- my-too\t"+show, "[exec][--][my-tool]")
				press("holdfast exec -- cat cert\t"+show, "[cat][certificate.pem]")
			}
		})
	}
}
