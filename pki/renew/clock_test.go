package renew_test

import (
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
)

// The clock of the machine is set back and forth for a year, while the CA has the
// right time. A wrong clock costs some certificates that are not used, and no
// certificate ends before the next one is in use, as long as the clock is right most of
// the time.
func TestClockBackAndForth(t *testing.T) {
	b := newBench(t)
	right, offset := b.now, time.Duration(0)
	b.answer = func(renew.Request) ([]*x509.Certificate, error) {
		return []*x509.Certificate{b.issue(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = right.Add(-time.Hour), right.Add(b.life) })}, nil
	}
	const day = 24 * time.Hour
	wrong := []time.Duration{-3 * 365 * day, -30 * day, -2 * time.Hour, -time.Minute, time.Minute, 2 * time.Hour, 20 * day, 365 * day}
	random := rand.New(rand.NewPCG(7, 11))
	renewals, refused := 0, 0
	for end := right.Add(365 * day); right.Before(end); right = right.Add(time.Hour) {
		switch {
		case offset == 0 && random.IntN(24*5) == 0: // every five days
			offset = wrong[random.IntN(len(wrong))]
		case offset != 0 && random.IntN(12) == 0: // for half a day
			offset = 0
		}
		b.now = right.Add(offset)
		if s := b.status(); b.now.Before(s.Next) {
			continue
		}
		switch err := b.renew(); {
		case err == nil:
			renewals++
		case errors.Is(err, renew.ErrUnfit) && offset != 0:
			refused++
		default:
			t.Fatalf("at %v, off by %v: %v", right, offset, err)
		}
		if c := b.chain[0]; right.After(c.NotAfter) || right.Before(c.NotBefore) {
			t.Fatalf("at %v, off by %v: the certificate in use is valid from %v to %v", right, offset, c.NotBefore, c.NotAfter)
		}
	}
	t.Logf("%d renewals, %d certificates that were not used", renewals, refused)
	// Four are needed. A try with a wrong clock is followed by the pauses.
	if renewals < 4 || renewals > 12 || len(b.asked) != renewals+refused || refused > 100 {
		t.Errorf("%d renewals and %d other requests", renewals, len(b.asked)-renewals)
	}
}
