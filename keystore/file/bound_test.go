package file

import (
	"context"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// boundOperations are the calls that can take long.
var boundOperations = map[string]func(context.Context, keystore.Ref, keystore.Options) error{
	"Open": func(ctx context.Context, ref keystore.Ref, opts keystore.Options) error {
		_, err := keystore.New(Backend{}).Open(ctx, ref, opts)
		return err
	},
	"List": func(ctx context.Context, ref keystore.Ref, opts keystore.Options) error {
		_, err := keystore.New(Backend{}).List(ctx, ref, opts)
		return err
	},
	"Generate": func(ctx context.Context, ref keystore.Ref, opts keystore.Options) error {
		ref.Rest += ".new"
		_, err := keystore.New(Backend{}).Generate(ctx, ref, keystore.KeySpec{Type: keystore.RSA4096}, opts)
		return err
	},
}

// Each call ends with its context during the most expensive key derivations that are
// allowed, which take seconds, and leaves no file.
func TestContextEndsDerivation(t *testing.T) {
	salt := []byte("a salt of 16 byt")
	plain := encrypt(t, keyDER(t, "p256"), "x")
	for name, change := range map[string]func(*encrypted){
		"PBKDF2": func(e *encrypted) { e.kdfParams = seq{salt, maxIterations} },
		"scrypt": func(e *encrypted) { e.kdf, e.kdfParams = oidScrypt, seq{salt, 1 << 17, 8, 4} },
	} {
		e := plain
		change(&e)
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: e.der(t)}), 0o600); err != nil {
			t.Fatal(err)
		}
		for op, run := range boundOperations {
			t.Run(name+"/"+op, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				err := run(ctx, keystore.Ref{Scheme: keystore.SchemeFile, Rest: path}, keystore.Options{
					PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
						time.AfterFunc(time.Millisecond, func() { cancel(context.DeadlineExceeded) })
						return []byte("x"), nil
					},
				})
				if !errors.Is(err, context.DeadlineExceeded) || signer.Hint(err) == "" {
					t.Errorf("error %v, hint %q", err, signer.Hint(err))
				}
				if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the new file: %v", err)
				}
			})
		}
	}
}

// Each call ends although the source of the password ignores the context.
func TestContextEndsMutePIN(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	e := encrypt(t, keyDER(t, "p256"), "x")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: e.der(t)}), 0o600); err != nil {
		t.Fatal(err)
	}
	for op, run := range boundOperations {
		stop, answer, over := errors.New("stop"), make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancelCause(t.Context())
		err := run(ctx, keystore.Ref{Scheme: keystore.SchemeFile, Rest: path}, keystore.Options{
			PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
				defer close(over)
				cancel(stop)
				<-answer
				return nil, signer.ErrPINRequired
			},
		})
		close(answer)
		<-over
		if !errors.Is(err, stop) {
			t.Errorf("%s: error %v", op, err)
		}
	}
}

// With a context that has ended, no call does anything.
func TestEndedContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER(t, "p256")}), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	for op, run := range boundOperations {
		if err := run(ctx, keystore.Ref{Scheme: keystore.SchemeFile, Rest: path}, keystore.Options{}); !errors.Is(err, stop) {
			t.Errorf("%s: error %v", op, err)
		}
		if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the new file: %v", op, err)
		}
	}
}
