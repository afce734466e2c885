//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// script/sign-release signs the checksums with a key in a token, by the holdfast of the
// release. OpenSSL and holdfast verify the signature, until a byte is changed.
func TestSignedRelease(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	signertest.Require(t, "openssl", "openssl")
	holdfast := filepath.Join(unpack(t, "linux_amd64"), "holdfast")
	script, err := filepath.Abs("../script/sign-release")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "dist"), os.DirFS(dist(t))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pin": "1234", "softhsm.conf": "directories.tokendir = " + dir + "/tokens\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	command := func(program string, args ...string) error {
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "SOFTHSM2_CONF="+dir+"/softhsm.conf", "HOLDFAST="+holdfast)
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %v\n%s", cmd, err, out)
		return err
	}
	run := func(program string, args ...string) {
		t.Helper()
		if err := command(program, args...); err != nil {
			t.Fatal(err)
		}
	}
	run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem", "-out", "maintainer.pem", "-subj", "/CN=Release")
	run("openssl", "x509", "-in", "maintainer.pem", "-noout", "-pubkey", "-out", "maintainer.pub")
	run("softhsm2-util", "--init-token", "--free", "--label", "release", "--pin", "1234", "--so-pin", "1234")
	run("softhsm2-util", "--import", "key.pem", "--token", "release", "--label", "sign", "--id", "01", "--pin", "1234")
	for range 2 { // the second time, the signature exists
		run(script, filepath.Join(dir, "maintainer.pem"), "pkcs11:token=release;object=sign?module-path="+softHSM+"&pin-source=file:"+dir+"/pin", filepath.Join(dir, "dist"))
	}

	verifiers := map[string]func() error{
		"openssl": func() error {
			return command("openssl", "dgst", "-sha256", "-verify", "maintainer.pub", "-signature", "dist/SHA256SUMS.sig", "dist/SHA256SUMS")
		},
		"holdfast": func() error { return command(holdfast, "verify-blob", "--signer", "maintainer.pem", "dist/SHA256SUMS") },
	}
	for name, verify := range verifiers {
		if err := verify(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, file := range []string{"dist/SHA256SUMS", "dist/SHA256SUMS.sig"} {
		path := filepath.Join(dir, file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Clone(data)
		changed[len(changed)/2] ^= 1
		if err := os.WriteFile(path, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		for name, verify := range verifiers {
			if verify() == nil {
				t.Errorf("%s accepts a changed %s", name, file)
			}
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
