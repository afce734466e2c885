package tpm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// slow delays all commands with a command code.
func slow(code tpm2.TPMCC, d time.Duration) func(int, []byte, func([]byte) ([]byte, error)) ([]byte, error) {
	return func(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
		if codeOf(command) == code {
			time.Sleep(d)
		}
		return send(command)
	}
}

func (b *bus) state() (opens, closes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opens, b.closes
}

func checkState(t *testing.T, b *bus, when string, opens, closes int) {
	t.Helper()
	synctest.Wait()
	if o, c := b.state(); o != opens || c != closes {
		t.Fatalf("%s: %d devices opened and %d closed, want %d and %d", when, o, c, opens, closes)
	}
}

func TestHold(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	cfg := Config{PEM: pem, Device: emulator.Path}

	t.Run("with a resource manager until Close", inBubble(func(t *testing.T) {
		b := &bus{managed: true}
		k := mustOpen(t, cfg, b.dial)
		mustSign(t, k) // the TPM performs a self-test before the first signature
		b.commands()
		for range 100 {
			mustSign(t, k)
			time.Sleep(10 * time.Second)
		}
		sent := b.commands()
		checkState(t, b, "after 100 signatures", 1, 0)
		if n := count(sent, "Sign"); n != 100 || len(sent) != n {
			t.Errorf("100 signatures sent %d commands, %d of them Sign", len(sent), n)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		checkState(t, b, "after Close", 1, 1)
	}))

	t.Run("until idle", inBubble(func(t *testing.T) {
		b := &bus{}
		k := mustOpen(t, cfg, b.dial)
		time.Sleep(maxIdle - 1)
		checkState(t, b, "shortly after Open", 1, 0)
		mustSign(t, k)
		time.Sleep(maxIdle - 1)
		checkState(t, b, "shortly after Sign", 1, 0)
		time.Sleep(time.Nanosecond)
		checkState(t, b, "when idle", 1, 1)
		checkEmpty(t, emulator)
		mustSign(t, k)
		checkState(t, b, "after the next Sign", 2, 1)
		time.Sleep(time.Hour)
		checkState(t, b, "an hour later", 2, 2)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		checkState(t, b, "after Close", 2, 2)
	}))

	t.Run("during a signature that takes longer than maxIdle", inBubble(func(t *testing.T) {
		b := &bus{intercept: slow(tpm2.TPMCCSign, maxIdle+1)}
		k := mustOpen(t, cfg, b.dial)
		mustSign(t, k)
		checkState(t, b, "after Sign", 1, 0)
		mustSign(t, k)
		checkState(t, b, "after another", 1, 0)
		time.Sleep(maxIdle)
		checkState(t, b, "when idle", 1, 1)
	}))

	// The time until the key is loaded does not count.
	t.Run("after a slow load", inBubble(func(t *testing.T) {
		b := &bus{intercept: slow(tpm2.TPMCCCreatePrimary, 2*maxHold)}
		k := mustOpen(t, cfg, b.dial)
		mustSign(t, k)
		checkState(t, b, "after Sign", 1, 0)
		time.Sleep(maxIdle)
		checkState(t, b, "when idle", 1, 1)
	}))

	t.Run("at most maxHold", inBubble(func(t *testing.T) {
		b := &bus{}
		k := mustOpen(t, cfg, b.dial)
		const pause = 10 * time.Millisecond
		begin := time.Now()
		var last int // opens before
		var turns []time.Duration
		for time.Since(begin) < time.Second {
			mustSign(t, k)
			if opens, _ := b.state(); opens != last {
				last = opens
				turns = append(turns, time.Since(begin))
			}
			time.Sleep(pause)
		}
		if len(turns) != 4 {
			t.Fatalf("opened the TPM at %v, want once in %v", turns, maxHold+yieldTime)
		}
		for i := range turns[1:] {
			if d := turns[i+1] - turns[i]; d < maxHold+yieldTime || d > maxHold+yieldTime+3*pause {
				t.Errorf("opened the TPM at %v, want once in %v", turns, maxHold+yieldTime)
			}
		}
	}))

	t.Run("in turns", inBubble(func(t *testing.T) {
		const keys = 2
		var signed [keys]int
		var longest [keys]time.Duration
		one := newExclusiveTPM()
		stop := time.Now().Add(time.Second)
		done := make(chan error)
		for i := range keys {
			b := &bus{next: one.dial, intercept: slow(tpm2.TPMCCSign, time.Millisecond)}
			go func() {
				k, err := open(t.Context(), cfg, b.dial)
				if err != nil {
					done <- err
					return
				}
				for time.Now().Before(stop) && err == nil {
					begin := time.Now()
					err = trySign(k, "turns")
					longest[i] = max(longest[i], time.Since(begin))
					signed[i]++
				}
				_ = k.Close()
				done <- err
			}()
		}
		for range keys {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		for i := range keys {
			if signed[i] < 300 || longest[i] > 2*maxHold {
				t.Errorf("key %d made %d signatures in a second and waited up to %v", i, signed[i], longest[i])
			}
		}
	}))
}

// An exclusiveTPM returns errBusy immediately while it is open, like a
// character device without a resource manager. Waiting for it works with the
// fake clock of a synctest bubble.
type exclusiveTPM struct{ busy chan struct{} }

func newExclusiveTPM() *exclusiveTPM { return &exclusiveTPM{make(chan struct{}, 1)} }

func (o *exclusiveTPM) dial(ctx context.Context, path string) (*device, error) {
	return defaultTimeouts.retryWhileBusy(ctx, func() (*device, error) {
		select {
		case o.busy <- struct{}{}:
		default:
			return nil, errBusy
		}
		d, err := dial(ctx, path)
		if err != nil {
			<-o.busy
			return nil, err
		}
		return &device{TPM: d.TPM, close: func() error {
			defer func() { <-o.busy }()
			return d.close()
		}}, nil
	})
}
