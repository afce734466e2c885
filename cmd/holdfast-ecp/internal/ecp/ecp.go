// Package ecp is the signer of an Enterprise Certificate Proxy: a client library
// of Google starts it with the name of a configuration file, and asks it through
// its standard streams for certificates and signatures.
package ecp

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

const (
	// signTimeout bounds a signature. A person may have to touch the device.
	signTimeout = 2 * time.Minute

	// closeTimeout bounds the wait for signatures when the client is gone.
	closeTimeout = time.Second
)

// A Process is everything outside of the program.
type Process struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
	Store          *keystore.Store
}

const usage = `usage: holdfast-ecp FILE

Signs with a key of Holdfast for the client libraries of Google, which run this
program with the name of their configuration file and speak to it through its
standard input and output. A person does not need to run it.

The key and its certificate are in the section "holdfast" of FILE:

  {
    "cert_configs": {
      "holdfast": {
        "certificate": "client.pem",
        "private_key": "pkcs11:token=prod;object=app?pin-source=/run/secrets/pin"
      }
    },
    "libs": {"ecp": "/usr/local/bin/holdfast-ecp"}
  }

  --help     print this text
  --version  print the version
`

// version is the version of a release that is built from a source archive, as
// that of the program holdfast.
var version string

func versionLine() string {
	built := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		built = cmp.Or(info.Main.Version, built)
	}
	return fmt.Sprintf("holdfast-ecp %s (%s, %s/%s)\n", cmp.Or(version, built), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Run executes a command line and returns the exit code. Nothing but the protocol,
// or what --help or --version ask for, is written to Stdout.
func (p Process) Run(ctx context.Context, args []string) int {
	if len(args) == 1 {
		if text, ok := map[string]string{"--help": usage, "--version": versionLine()}[args[0]]; ok {
			if _, err := io.WriteString(p.Stdout, text); err != nil {
				return p.fail(err)
			}
			return 0
		}
	}
	if len(args) != 1 {
		return p.fail(usageErrorf("%d arguments instead of one, the name of the configuration file", len(args)))
	}
	if args[0] == "" {
		return p.fail(usageErrorf("the name of the configuration file is empty"))
	}
	if err := p.run(ctx, args[0]); err != nil {
		return p.fail(err)
	}
	return 0
}

// run opens the key and serves the client until that closes Stdin.
func (p Process) run(ctx context.Context, path string) (err error) {
	id, err := readConfig(p.Store, path)
	if err != nil {
		return err
	}
	key, err := p.open(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, key.Close()) }()
	if err := usable(key.Signer().Public()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s, err := newServer(key)
	if err != nil {
		return err
	}
	return s.serve(ctx, p.Stdin, p.Stdout)
}

// open returns a key that is opened again after its device was disconnected, but
// never replaced by another one: the client has asked for its certificates and
// keeps them.
func (p Process) open(ctx context.Context, id keystore.Identity) (*rotate.Identity, error) {
	logger := slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: redactAttr}))
	var first crypto.PublicKey
	return rotate.New(ctx, rotate.Config{
		Open: func(ctx context.Context) (signer.Signer, error) {
			return p.Store.OpenIdentity(ctx, id, keystore.Options{Logger: logger, LookupEnv: p.LookupEnv})
		},
		Check: func(s signer.Signer) error {
			if first == nil {
				first = s.Public()
			}
			if !signer.SamePublicKey(first, s.Public()) {
				return signer.WithHint(fmt.Errorf("%w: this is another key than the one that the client knows", signer.ErrMismatch), "start the client again; it then asks for the new certificate")
			}
			return nil
		},
		Logger: logger,
	})
}

// usable returns an error if the clients refuse every signature of a key.
func usable(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return nil
	case *rsa.PublicKey:
		if pub.N.BitLen() >= 2048 {
			return nil
		}
	}
	return signer.WithHint(fmt.Errorf("the clients of Google do not accept a key of the type %s", signer.DescribeKey(pub)), "use an ECDSA key, or an RSA key of at least 2048 bits")
}

// waitFor waits until f returns, but at most for d.
func waitFor(d time.Duration, f func()) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_, _ = await.Result(ctx, func() (struct{}, error) { f(); return struct{}{}, nil }, nil)
}
