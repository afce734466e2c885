package clitest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// RunEmulator runs "holdfast emulator" in a folder until stop is called, and
// returns its URL and the flags that reach it.
func RunEmulator(dir string, args ...string) (url, flags string, stop func(), err error) {
	url, flags, _, stop, err = RunEmulatorLog(dir, args...)
	return url, flags, stop, err
}

// RunEmulatorLog is RunEmulator that also returns what the emulator writes to
// standard error. stop may be called again.
func RunEmulatorLog(dir string, args ...string) (url, flags string, log *LockedBuffer, stop func(), err error) {
	log = new(LockedBuffer)
	url, flags, stop, err = RunEmulatorTo(log, dir, args...)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, log)
	}
	return url, flags, log, stop, err
}

// RunEmulatorTo is RunEmulator with a writer for the standard error of the
// emulator. stop may be called again.
func RunEmulatorTo(stderr io.Writer, dir string, args ...string) (url, flags string, stop func(), err error) {
	lines, stop, err := launchEmulator(stderr, dir, args)
	if err != nil {
		return "", "", nil, err
	}
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "listening on "):
			url = strings.TrimPrefix(line, "listening on ")
		case strings.HasPrefix(line, "--assume-role-arn "), strings.HasPrefix(line, "--ca-arn "): // not all callers want a second role or a CA
		case strings.HasPrefix(line, "--"):
			flags += line + " "
		case strings.HasPrefix(line, "use with"):
			return url, "--endpoint " + url + " " + strings.TrimSpace(flags), stop, nil
		}
	}
	stop()
	return "", "", nil, errors.Join(errors.New("the emulator ended"), lines.Err())
}

// RunControlPlane runs "holdfast emulator --export" in a folder until stop is called,
// and returns its URL, the credentials of its administrator as environment variables,
// and what it writes to standard error. stop may be called again.
func RunControlPlane(dir string, args ...string) (url string, env []string, log *LockedBuffer, stop func(), err error) {
	log = new(LockedBuffer)
	lines, stop, err := launchEmulator(log, dir, append([]string{"--export"}, args...))
	if err != nil {
		return "", nil, log, nil, err
	}
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "# listening on "):
			url = strings.TrimPrefix(line, "# listening on ")
		case strings.HasPrefix(line, "export "):
			env = append(env, strings.TrimPrefix(line, "export "))
		case strings.HasPrefix(line, "unset "):
			return url, env, log, stop, nil
		}
	}
	stop()
	return "", nil, log, nil, fmt.Errorf("the emulator ended: %s", log)
}

// launchEmulator starts "holdfast emulator" and returns the lines of its standard output.
func launchEmulator(stderr io.Writer, dir string, args []string) (lines *bufio.Scanner, stop func(), err error) {
	cmd := exec.Command("holdfast", append([]string{"emulator", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // as on Windows
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	})
	return bufio.NewScanner(out), stop, nil
}

// WriteFiles makes in a folder ca.pem, intermediate.pem, cert.pem and key.pem, of
// a kind as [signertest.Key] knows them, and other.key. It returns the CA that
// issued the certificate.
func WriteFiles(tb testing.TB, dir, kind string) *signertest.CA {
	root := signertest.NewCA(tb, "root")
	ca := root.Intermediate(tb, "intermediate")
	key := signertest.Key(tb, kind)
	for name, data := range map[string][]byte{
		"ca.pem":           signertest.CertPEM(root.Cert),
		"intermediate.pem": signertest.CertPEM(ca.Cert),
		"cert.pem":         signertest.CertPEM(ca.Issue(tb, key, nil), ca.Cert),
		"key.pem":          signertest.KeyPEM(tb, key),
		"other.key":        signertest.KeyPEM(tb, signertest.NewKey(tb, "p256")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return ca
}
