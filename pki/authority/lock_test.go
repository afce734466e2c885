package authority_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// While a device waits for a touch, others issue certificates.
func TestSignatureOutsideOfTheLock(t *testing.T) {
	a, key, dir := newCA(t)
	waiting, release := make(chan struct{}), make(chan struct{})
	slow := &signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error { close(waiting); <-release; return nil }}
	done := make(chan error)
	go func() {
		_, err := a.Issue(t.Context(), slow, template(t, a, "slow"), "")
		done <- err
	}()
	<-waiting
	b := wantSound(t, dir)
	if _, err := b.Issue(t.Context(), key, template(t, a, "fast"), ""); err != nil {
		t.Error(err)
	}
	if list, err := b.List(); err != nil || len(list) != 2 || !list[0].Missing || list[1].Missing {
		t.Errorf("%+v, %v", list, err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if list, err := b.List(); err != nil || list[0].Missing {
		t.Errorf("%+v, %v", list, err)
	}
}

// While a device waits for a touch for a revocation list, others revoke, and make
// the list after it, which stays.
func TestRevocationListOutsideOfTheLock(t *testing.T) {
	a, key, dir := newCA(t)
	waiting, release := make(chan struct{}), make(chan struct{})
	slow := &signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error { close(waiting); <-release; return nil }}
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result)
	go func() {
		text, err := a.CRL(t.Context(), slow, time.Hour)
		done <- result{text, err}
	}()
	<-waiting
	b := wantSound(t, dir)
	c, err := b.Issue(t.Context(), key, template(t, a, "app"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Revoke(t.Context(), serialOf(c), pki.KeyCompromise); err != nil {
		t.Fatal(err)
	}
	second, err := b.CRL(t.Context(), key, time.Hour)
	if err != nil || parseCRL(t, second).Number.Int64() != 2 {
		t.Fatalf("%s, %v", second, err)
	}
	close(release)
	first := <-done
	if first.err != nil || parseCRL(t, first.text).Number.Int64() != 1 {
		t.Errorf("%s, %v", first.text, first.err)
	}
	if stored, err := os.ReadFile(filepath.Join(dir, "crl.pem")); err != nil || !bytes.Equal(stored, second) {
		t.Errorf("%s, %v", stored, err)
	}
	wantSound(t, dir)
}

// The file with the lock can be removed while a program writes: the index is locked,
// too.
func TestRemovedLock(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("on Windows an open file cannot be removed")
	}
	_, key, dir := newCA(t)
	const writers, each = 4, 15
	var all sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		a, err := authority.Open(dir, authority.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for i := range each {
				if _, err := a.Issue(t.Context(), key, template(t, a, fmt.Sprintf("app-%d-%d", w, i)), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { all.Wait(); close(done) }()
	for removed := false; !removed; {
		select {
		case <-done:
			removed = true
		default:
			_ = os.Remove(filepath.Join(dir, "lock"))
		}
	}
	a := wantSound(t, dir)
	if list, err := a.List(); err != nil || len(list) != writers*each {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

// A program that wrote to an index that was replaced meanwhile says so, and then uses
// the other one.
func TestReplacedIndex(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("on Windows an open file cannot be replaced")
	}
	_, key, dir := newCA(t)
	index := filepath.Join(dir, "index.jsonl")
	replace := false
	a, err := authority.Open(dir, authority.Options{Now: func() time.Time { // also called before an event is written
		if replace {
			replace = false
			data, err := os.ReadFile(index)
			if err := errors.Join(err, os.Remove(index), os.WriteFile(index, data, 0o600)); err != nil {
				t.Error(err)
			}
		}
		return time.Now()
	}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
	if err != nil {
		t.Fatal(err)
	}
	replace = true
	if err := a.Revoke(t.Context(), serialOf(c), pki.KeyCompromise); err == nil || signer.Hint(err) == "" {
		t.Errorf("a lost revocation: %v", err)
	}
	if found, err := a.Find(serialOf(c)); err != nil || !found.Revoked.IsZero() {
		t.Errorf("%+v, %v", found, err)
	}
	if err := a.Revoke(t.Context(), serialOf(c), pki.KeyCompromise); err != nil {
		t.Error(err)
	}
	if found, err := wantSound(t, dir).Find(serialOf(c)); err != nil || found.Revoked.IsZero() {
		t.Errorf("%+v, %v", found, err)
	}
}
