// Package sshagent is the command ssh-agent: an agent of SSH whose keys are those of
// Holdfast. It listens on a socket of its own, lists the keys and signs with them, and
// accepts no others. Within Holdfast it imports front, flags, child, daemon (for the
// folder of the socket) and the libraries.
package sshagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/child"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/environ"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

const (
	// openTimeout is how long a device may take to open a key, without the time of
	// prompts.
	openTimeout = time.Minute

	// closeTimeout is how long the agent waits at its end for answers and devices.
	closeTimeout = time.Second

	socketVariable = "SSH_AUTH_SOCK"
)

type options struct {
	keys            []string
	certificate     string
	sshCertificates []string
	device          flags.Device
	socket          string
	confirm         bool
	lifetime        string
	debug           bool
}

// SSHAgent returns the command that serves keys to SSH.
func SSHAgent(a front.App) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "ssh-agent [flags] [-- COMMAND [ARGUMENT]...]",
		Short: "Act as an SSH agent for ssh, git and other clients",
		Long: `Opens keys and signs with them for the clients of an ssh-agent: ssh, git, which
signs commits, ssh-keygen and others. It listens on a socket that only this user
can access, and prints the line with which a shell finds it. Keys cannot be
added or removed, and RSA keys sign only with SHA-256 and SHA-512.

It runs until it is interrupted. Unlike OpenSSH's agent, it stays in the
foreground, so eval "$(holdfast ssh-agent …)" waits without end: start it in the
background, as a service, or with a command.

With a command, it prints nothing, runs the command with SSH_AUTH_SOCK in its
environment, and ends with it. The exit code is then that of the command, and
the socket is one for this command alone, unless --socket names another. See
docs/serve-ssh-agent.md.`,
		Example: `  holdfast ssh-agent --private-key tpm:handle=0x81010002

  # in another shell:
  export SSH_AUTH_SOCK=/run/user/1000/holdfast/ssh-agent.sock

  # for one command, and with a question before each signature:
  holdfast ssh-agent --confirm --private-key 'pkcs11:token=prod;object=app' \
      -- ssh app@host.example`,
		Args: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, a, args) },
	}
	front.KeyFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		front.ListVar(fs, &o.keys, "private-key", "`reference` to a private key; can be repeated")
		fs.StringVar(&o.certificate, "certificate", "", "`reference` to the X.509 certificate of the only key, if the device does not reveal the public key")
		front.ListVar(fs, &o.sshCertificates, "ssh-certificate", "`file` with an OpenSSH certificate of one of the keys, such as id-cert.pub; can be repeated")
		front.RefuseEmpty(fs, "private-key", "ssh-certificate")
		o.device.Add(fs)
	})
	front.AgentFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&o.confirm, "confirm", false, "ask before each signature, with the program that SSH_ASKPASS names")
		fs.StringVar(&o.lifetime, "lifetime", "", "`time` after which the keys are closed, such as 8h or 1d; without a command, the agent then ends (default: no limit)")
		front.RefuseEmpty(fs, "lifetime")
	})
	front.ListenFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&o.socket, "socket", "", "`file` of the socket (default: ssh-agent.sock in $XDG_RUNTIME_DIR/holdfast, or in holdfast-UID in the folder for temporary files; with a command, a new name there)")
		front.RefuseEmpty(fs, "socket")
	})
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&o.debug, "debug", false, "log each signature to standard error, without secrets")
	})
	cmd.Flags().SetInterspersed(false) // flags after the command belong to it
	return cmd
}

func (o *options) check(args []string) error {
	switch {
	case len(o.keys) == 0 && len(args) > 0:
		return signer.WithHint(front.Usagef("--private-key is not given, and %q is the command to run", keystore.Excerpt(args[0])), "name a key before the command: holdfast ssh-agent --private-key REFERENCE -- COMMAND")
	case len(o.keys) == 0:
		return signer.WithHint(front.Usagef("--private-key is not given"), "name a key: holdfast ssh-agent --private-key tpm:handle=0x81010002; holdfast list shows the keys of this machine")
	case o.certificate != "" && len(o.keys) > 1:
		return signer.WithHint(front.Usagef("--certificate is given with %d keys", len(o.keys)), "leave it out, or run an agent for each key")
	}
	return nil
}

func (o *options) run(cmd *cobra.Command, a front.App, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	lifetime := time.Duration(0)
	if o.lifetime != "" {
		var err error
		if lifetime, err = front.ParseLifetime("--lifetime", o.lifetime); err != nil {
			return err
		}
	}
	if runtime.GOOS == "windows" {
		return signer.WithHint(fmt.Errorf("ssh-agent on Windows, where SSH uses a named pipe: %w", errors.ErrUnsupported), "run it in a Linux system, such as WSL")
	}
	var command *exec.Cmd
	if len(args) > 0 {
		path, err := exec.LookPath(args[0])
		if err != nil {
			return child.NotRun(err)
		}
		if ran, err := child.AsFirst(cmd.Context(), a.Environ()); ran {
			return err
		}
		command = exec.Command(path, args[1:]...)
		command.Args[0] = args[0]
		command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	keys, err := o.parse()
	if err != nil {
		return err
	}
	ctx, stop := untilHangup(cmd.Context())
	defer stop()
	front.HideMemory()
	a, flush := a.WithLogWriter()
	defer flush()
	a.Log = a.Logger(o.debug)
	var hidden []string // variables with secrets
	for _, k := range keys {
		hidden = append(hidden, k.Variables(a)...)
	}
	for i, k := range keys {
		keys[i] = k.Hiding(hidden)
	}
	env := environ.Without(a.Environ(), hidden)
	ag := &agent{log: a.Log, timeout: signTimeout, now: a.Now}
	if o.confirm {
		asker, err := newAskpass(a.Env, env)
		if err != nil {
			return err
		}
		ag.confirm = asker.ask
	}
	s, err := reserve(a.Env, o.socket, command != nil)
	if err != nil {
		return err
	}
	defer s.close()
	defer ag.forget()
	if err := o.open(ctx, a, keys, ag); err != nil {
		return err
	}
	// Only now, so that no client waits while a person types a PIN.
	if err := s.bind(); err != nil {
		return err
	}
	if command != nil {
		command.Env = append(environ.Without(slices.Clone(env), []string{socketVariable, "SSH_AGENT_PID"}), socketVariable+"="+s.path)
	}
	return o.serve(ctx, a, ag, s, lifetime, command)
}

// untilHangup returns a context that ends with SIGHUP, as when the terminal is closed, so
// that no socket and no program is left. If the signal is ignored, as with nohup, it stays
// ignored. A command gets the signal from [child.Run].
func untilHangup(ctx context.Context) (until context.Context, stop func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, func() {}
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// parse returns the keys that the flags name, without opening them.
func (o *options) parse() (keys []flags.Key, err error) {
	for _, text := range o.keys {
		k, err := o.device.Key(text)
		if err != nil {
			return nil, err
		}
		if o.certificate != "" {
			if k.Identity.Certificate, err = keystore.ParseRef(o.certificate); err != nil {
				return nil, err
			}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// open opens the keys and reads their OpenSSH certificates.
func (o *options) open(ctx context.Context, a front.App, keys []flags.Key, ag *agent) error {
	a.LongRunning = true
	// Prompts at the terminal would disturb others after the start; a window does not.
	if len(keys) > 0 && !keys[0].PINSource.Pinentry {
		a.Typed = new(front.TypedPINs)
		defer a.Typed.Stop()
	}
	for _, k := range keys {
		key, err := openKey(ctx, k.Name(), rotate.Config{
			Open: func(ctx context.Context) (signer.Signer, error) {
				return front.InterruptibleValue(ctx, k.Name(), func() (signer.Signer, error) { return k.OpenKey(ctx, a, a.Log) })
			},
			PINFiles: k.PINFiles(a),
			Timeout:  openTimeout,
		})
		if err != nil {
			return err
		}
		if err := ag.add(key, comment(k.Name())); err != nil {
			return errors.Join(err, key.close())
		}
	}
	for _, path := range o.sshCertificates {
		if err := ag.addCertificate(path, a.Now()); err != nil {
			return fmt.Errorf("--ssh-certificate %s: %w", path, err)
		}
	}
	return nil
}

// serve serves until ctx, the lifetime or the command ends. A lifetime of 0 has no end.
func (o *options) serve(ctx context.Context, a front.App, ag *agent, s *socket, lifetime time.Duration, command *exec.Cmd) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	if command == nil {
		serving, stop = context.WithCancel(ctx)
	}
	defer stop()
	if lifetime > 0 {
		ag.setLifetime(lifetime)
		go func() {
			if ag.expire(serving, lifetime) && command == nil {
				stop()
			}
		}()
	}
	served := make(chan error, 1)
	server := &server{agent: ag, log: a.Log, allowed: sameUser}
	go func() { served <- server.serve(serving, s.listener) }()
	if command == nil {
		line := fmt.Sprintf("%s=%s; export %s;\n", socketVariable, front.ShellQuote(s.path), socketVariable)
		if _, err := a.Stdout.Write([]byte(line)); err != nil {
			return err
		}
		return <-served
	}
	err := child.Run(ctx, command)
	stop()
	if serveErr := <-served; serveErr != nil {
		a.Log.Warn("the agent failed", "error", serveErr)
	}
	return err
}
