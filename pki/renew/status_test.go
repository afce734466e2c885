package renew_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// The status tells when a try failed and what helps, and that the CA has not answered yet.
func TestStatusOfTries(t *testing.T) {
	b := newBench(t)
	b.answer = func(renew.Request) ([]*x509.Certificate, error) { return nil, &renew.WaitError{After: 5 * time.Minute} }
	_ = b.renew()
	if s := b.status(); !s.IsWaiting() || !s.Tried.Equal(b.now) || s.Hint != "" {
		t.Errorf("%+v", s)
	}
	b.now = b.now.Add(time.Minute)
	b.answer = func(renew.Request) ([]*x509.Certificate, error) {
		return nil, signer.WithHint(errors.New("the folder is full"), "empty the folder")
	}
	_ = b.renew()
	if s := b.status(); s.IsWaiting() || s.Failures != 1 || !s.Tried.Equal(b.now) || s.Hint != "empty the folder" {
		t.Errorf("%+v", s)
	}
	b.answer = nil
	if err := b.renew(); err != nil {
		t.Fatal(err)
	}
	if s := b.status(); s.IsWaiting() || s.Problem != "" || s.Hint != "" || !s.Tried.IsZero() {
		t.Errorf("%+v", s)
	}
}
