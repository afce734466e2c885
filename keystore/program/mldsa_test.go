//go:build unix

package program_test

import (
	"context"
	"crypto"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/keystore/program"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// signML is a program that signs with the ML-DSA key in a file.
func signML(l *liar) {
	q := l.next()
	ref, err := keystore.ParseRef(q.Key)
	if err != nil {
		panic(err)
	}
	key, err := keystore.New(file.Backend{}).Open(context.Background(), ref, keystore.Options{})
	if err != nil {
		panic(err)
	}
	spki, err := signer.MarshalPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	l.answer(exectest.Answer{ID: q.ID, Version: 1, PublicKey: spki, Input: "message"})
	for {
		q := l.next()
		sig, err := key.Sign(nil, q.Message, crypto.Hash(0))
		if err != nil || q.Algorithm != "mldsa65" {
			panic(q.Algorithm)
		}
		l.answer(exectest.Answer{ID: q.ID, Signature: sig})
	}
}

func TestMLDSA(t *testing.T) {
	dir := t.TempDir()
	signertest.IssueMLDSA(t, dir, "ML-DSA-65", "seed-priv")
	path := exectest.InstallAs(t, liarPrefix+"signs_with_ML-DSA")
	signertest.Run(t, func(t *testing.T) signer.Signer {
		return open(t, program.Config{Path: path, Key: filepath.Join(dir, "key.pem"), Env: []string{dirVariable + "=" + dir, "HOME=" + os.Getenv("HOME")}})
	})
}
