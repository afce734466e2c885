package tpm

import (
	"bufio"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A job describes what a worker does with a key. The worker reads it from
// standard input.
type job struct {
	Device   string
	PEM      []byte
	Handle   Handle
	Password string
	Stop     bool // hang during the first signature
}

func (j job) config() Config {
	cfg := Config{PEM: j.PEM, Handle: j.Handle, Device: j.Device}
	if j.Password != "" {
		cfg.PIN = fixedPIN(j.Password)
	}
	return cfg
}

// Each process signs in several goroutines. It reports progress after each of
// them has made a batch of signatures.
const (
	goroutines = 8
	batch      = 5
)

const workerVariable = "HOLDFAST_TPM_TEST_WORKER"

// TestWorker is the main function of a worker process. The worker reports what
// it does on standard output, and exits at the end of standard input.
func TestWorker(t *testing.T) {
	if os.Getenv(workerVariable) == "" {
		t.Skip("only for processes that other tests start")
	}
	if err := work(t.Context()); err != nil {
		fmt.Println("error:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
	os.Exit(0)
}

func work(ctx context.Context) error {
	input := json.NewDecoder(os.Stdin)
	var j job
	if err := input.Decode(&j); err != nil {
		return err
	}
	b := &bus{}
	if j.Stop {
		b.intercept = func(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
			response, err := send(command)
			if codeOf(command) == tpm2.TPMCCSign {
				fmt.Println("signing")
				select {}
			}
			return response, err
		}
	}
	cfg, log := j.config(), &logRecorder{}
	cfg.Logger = log.logger()
	k, err := open(ctx, cfg, b.dial)
	if err != nil {
		return err
	}
	for range log.warnings() {
		fmt.Println("warned")
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for {
		select {
		case <-stop:
			return k.Close()
		default:
		}
		if err := signTogether(func(int) *Key { return k }); err != nil {
			return err
		}
		fmt.Println("signed")
	}
}

// signTogether makes a batch of signatures in each of several goroutines.
func signTogether(key func(g int) *Key) error {
	errs := make([]error, goroutines)
	var done sync.WaitGroup
	for g := range goroutines {
		done.Go(func() {
			for i := range batch {
				if err := trySign(key(g), fmt.Sprintf("message %d of goroutine %d", i, g)); err != nil {
					errs[g] = err
					return
				}
			}
		})
	}
	done.Wait()
	return errors.Join(errs...)
}

// A worker is a process that runs TestWorker.
type worker struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner

	warnings int
}

func startWorker(t *testing.T, j job) *worker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: exec.CommandContext(t.Context(), self, "-test.run=^TestWorker$")}
	w.cmd.Env = append(os.Environ(), workerVariable+"=1")
	w.cmd.Stderr = os.Stderr
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(stdout)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	if err := json.NewEncoder(w.stdin).Encode(j); err != nil {
		t.Fatal(err)
	}
	return w
}

// await reads lines until it reads the given line.
func (w *worker) await(line string) error {
	for w.lines.Scan() {
		if w.lines.Text() == line {
			return nil
		}
		if w.lines.Text() != "warned" {
			return errors.New(w.lines.Text())
		}
		w.warnings++
	}
	return fmt.Errorf("the process exited: %w", errors.Join(w.lines.Err(), io.ErrUnexpectedEOF))
}

// end makes the process exit, and returns the number of batches since await.
func (w *worker) end() (batches int, err error) {
	_ = w.stdin.Close()
	for w.lines.Scan() {
		if w.lines.Text() != "signed" {
			err = errors.Join(err, errors.New(w.lines.Text()))
		}
		batches++
	}
	return batches, errors.Join(err, w.cmd.Wait())
}

// jobs returns jobs for key files and persistent keys, with and without a
// password and a policy.
func jobs(t *testing.T, emulator *tpmtest.TPM) map[string]job {
	t.Helper()
	create := CreateConfig{Device: emulator.Path}
	plain := makeKey(t, create)
	create.PIN = fixedPIN(keyPassword)
	secret := makeKey(t, create)
	create.PCRs = []PCRs{{crypto.SHA256, []uint{7}}}
	bound := makeKey(t, create)
	makePersistent(t, emulator, 0x81010001, plain)
	makePersistent(t, emulator, 0x81010002, secret)
	all := map[string]job{
		"file":                 {PEM: plain},
		"file with a password": {PEM: secret, Password: keyPassword},
		"policy":               {PEM: bound, Password: keyPassword},
		"handle":               {Handle: 0x81010001},
		"handle with password": {Handle: 0x81010002, Password: keyPassword},
	}
	for name, j := range all {
		j.Device = emulator.Path
		all[name] = j
	}
	return all
}

// Eight processes sign with eight goroutines each. Each process makes progress
// while the others sign as fast as possible.
func TestProcesses(t *testing.T) {
	emulator := newTPM(t)
	all := jobs(t, emulator)
	resetLockout(t, emulator)
	var kinds []job
	for _, j := range all {
		kinds = append(kinds, j)
	}
	const processes = 8
	var workers [processes]*worker
	for i := range workers {
		workers[i] = startWorker(t, kinds[i%len(kinds)])
	}
	var errs [processes]error
	var done sync.WaitGroup
	for i, w := range workers {
		done.Go(func() {
			for range 3 {
				if errs[i] = w.await("signed"); errs[i] != nil {
					return
				}
			}
		})
	}
	done.Wait()
	for i, w := range workers {
		if errs[i] != nil {
			t.Errorf("process %d: %v", i, errs[i])
		}
		_ = w.stdin.Close()
	}
	for i, w := range workers {
		done.Go(func() {
			n, err := w.end()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			t.Logf("process %d made %d signatures", i, (n+3)*goroutines*batch)
		})
	}
	done.Wait()
	checkEmpty(t, emulator)
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("%d tries were counted", n)
	}
}

// Several goroutines share a key, or have one key each.
func TestGoroutines(t *testing.T) {
	emulator := newTPM(t)
	all := jobs(t, emulator)
	resetLockout(t, emulator)
	for name, j := range all {
		t.Run(name, func(t *testing.T) {
			k := mustOpen(t, j.config(), dial)
			if err := signTogether(func(int) *Key { return k }); err != nil {
				t.Errorf("one key: %v", err)
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			var keys [goroutines]*Key
			for g := range keys {
				keys[g] = mustOpen(t, j.config(), dial)
			}
			if err := signTogether(func(g int) *Key { return keys[g] }); err != nil {
				t.Errorf("one key each: %v", err)
			}
			for _, k := range keys {
				if err := k.Close(); err != nil {
					t.Fatal(err)
				}
			}
			checkEmpty(t, emulator)
			if n := triesUsed(t, emulator); n != 0 {
				t.Errorf("%d tries were counted", n)
			}
		})
	}
}

// Processes that are killed during a signature leave objects and sessions in
// the TPM. The next process flushes them and logs a warning.
func TestKilled(t *testing.T) {
	emulator := newTPM(t)
	for name, j := range jobs(t, emulator) {
		if j.Handle != 0 && j.Password == "" {
			continue // loads nothing
		}
		t.Run(name, func(t *testing.T) {
			j.Stop = true
			warnings := 0
			for range 4 {
				w := startWorker(t, j)
				if err := w.await("signing"); err != nil {
					t.Fatal(err)
				}
				warnings += w.warnings
				if err := w.cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				_ = w.cmd.Wait()
			}
			cfg := j.config()
			log := &logRecorder{}
			cfg.Logger = log.logger()
			k := mustOpen(t, cfg, dial)
			mustSign(t, k)
			if warnings += log.warnings(); warnings == 0 {
				t.Error("no warning that objects were flushed from the TPM")
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			d := openTPM(t, emulator) // flush what did not fill the TPM
			defer d.close()
			flushAll(d)
		})
	}
}

// Create works after the TPM was left full, or was reset.
func TestCreateRepairsTPM(t *testing.T) {
	emulator := newTPM(t)
	full := func() {
		d := openTPM(t, emulator)
		defer d.close()
		l := &loadedObject{device: d}
		for { // like processes that are killed before they flush anything
			if _, err := l.primary(tpm2.TPMRHNull, false, tpm2.PasswordAuth(nil)); errors.Is(err, Error(tpm2.TPMRCObjectMemory)) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	reset := func() {
		if err := emulator.Reset(); err != nil {
			t.Fatal(err)
		}
	}
	for name, before := range map[string]func(){"full": full, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			before()
			b, log := &bus{}, &logRecorder{}
			pem, err := createKey(t.Context(), CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword), Logger: log.logger()}, keystore.P256, b.dial)
			if err != nil {
				t.Fatal(err)
			}
			if n := log.warnings(); (n > 0) != (name == "full") {
				t.Errorf("%d warnings", n)
			}
			checkReleased(t, b)
			checkEmpty(t, emulator)
			before()
			k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}, b.dial)
			mustSign(t, k)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			checkReleased(t, b)
			checkEmpty(t, emulator)
		})
	}
}

// After a reset, the TPM has lost all objects and sessions, and requires
// TPM2_Startup.
func TestReset(t *testing.T) {
	emulator := newTPM(t)
	all := jobs(t, emulator)
	// The TPM counts a reset as a try if passwords were used before (part
	// 1, section 19.8.6).
	setMaxTries(t, emulator, 100)
	stop := make(chan struct{})
	var done sync.WaitGroup
	var mu sync.Mutex
	signed := map[string]int{}
	for name, j := range all {
		k := mustOpen(t, j.config(), dial)
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := trySign(k, "reset"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				mu.Lock()
				signed[name]++
				mu.Unlock()
			}
		})
	}
	const resets = 3
	for range resets {
		before := map[string]int{}
		mu.Lock()
		for name := range all {
			before[name] = signed[name]
		}
		mu.Unlock()
		if err := emulator.Reset(); err != nil {
			t.Error(err)
		}
		for name := range all { // each signs after the reset
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				mu.Lock()
				n := signed[name] - before[name]
				mu.Unlock()
				if n >= 2 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s signed %d times in a minute", name, n)
				}
			}
		}
	}
	close(stop)
	done.Wait()
}

// While the TPM is unavailable, signatures fail soon. Afterwards, the same key
// signs.
func TestRestart(t *testing.T) {
	emulator := newTPM(t)
	all := jobs(t, emulator)
	setMaxTries(t, emulator, 100)
	for name, j := range all {
		t.Run(name, func(t *testing.T) {
			k := mustOpen(t, j.config(), dial)
			mustSign(t, k)
			for range 2 {
				emulator.Kill()
				begin := time.Now()
				for range 2 {
					wantUnavailable(t, trySign(k, "away"))
				}
				if d := time.Since(begin); d > 10*time.Second { // less than the default timeouts
					t.Errorf("two signatures failed in %v", d)
				}
				if err := emulator.Restart(); err != nil {
					t.Fatal(err)
				}
				mustSign(t, k)
				// A restart between two signatures has no effect.
				emulator.Kill()
				if err := emulator.Restart(); err != nil {
					t.Fatal(err)
				}
				mustSign(t, k)
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, emulator)
		})
	}
}
