package renew

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Schedule says when a certificate is renewed. Its life begins when it was
// obtained: CAs set the beginning of the validity earlier than that, by up to an
// hour.
type Schedule struct {
	Obtained time.Time
	NotAfter time.Time

	// Key is the key of the certificate. Certificates of different keys that
	// were obtained at the same time are due at different times.
	Key crypto.PublicKey
}

// The parts of a life.
const (
	dueNumerator, dueDenominator = 2, 3  // renewal is due after two thirds
	jitterShare                  = 20    // plus up to a twentieth, by the key
	overdueShare                 = 6     // when a sixth is left, somebody must look
	retryShare                   = 20    // the pause between tries grows to a twentieth
	firstRetryShare              = 1_000 // from a thousandth, but at most a minute
)

// firstRetry and mostRetry bound the pauses between tries. leastRetry is for lives that
// are so short that their parts would be no pause.
const (
	firstRetry = time.Minute
	mostRetry  = 12 * time.Hour
	leastRetry = time.Second
)

// life returns the time from when the certificate was obtained to its end. It is
// positive.
func (s Schedule) life() time.Duration { return max(s.NotAfter.Sub(s.Obtained), time.Second) }

// Due returns when the renewal is due.
func (s Schedule) Due() time.Time {
	life := s.life()
	return s.Obtained.Add(life/dueDenominator*dueNumerator + time.Duration(float64(life/jitterShare)*s.fraction()))
}

// Overdue returns when a certificate that was not renewed needs attention.
func (s Schedule) Overdue() time.Time { return s.NotAfter.Add(-s.life() / overdueShare) }

// Pause returns how long to wait after so many failures in a row, which is at
// least 1. It doubles each time, and does not depend on whether the certificate
// has expired.
func (s Schedule) Pause(failures int) time.Duration {
	most := s.longestPause()
	pause := max(min(firstRetry, s.life()/firstRetryShare), leastRetry)
	for range failures - 1 {
		if pause *= 2; pause >= most {
			return most
		}
	}
	return pause
}

func (s Schedule) longestPause() time.Duration {
	return max(min(mostRetry, s.life()/retryShare), leastRetry)
}

// fraction returns a number from 0 to 1 that is the same for the same key.
func (s Schedule) fraction() float64 {
	der, err := signer.MarshalPublicKey(s.Key)
	if err != nil {
		return 0
	}
	sum := sha256.Sum256(der)
	return float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32)
}
