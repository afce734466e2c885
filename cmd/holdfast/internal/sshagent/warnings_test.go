//go:build unix

package sshagent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
)

// TestWarningsOfClient: a client cannot fill the log.
func TestWarningsOfClient(t *testing.T) {
	a := newAgent(t)
	var log bytes.Buffer
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	request := sshwire.Signing{Blob: []byte("none"), Message: []byte("x")}.Marshal()
	for range 1000 {
		s := &session{agent: a} // of a new connection
		for range 10 {
			if kind, _ := s.answer(t.Context(), sshwire.SignRequest, request); kind != sshwire.Failure {
				t.Fatalf("type %d", kind)
			}
		}
	}
	const most = 10 * (maxWarnings + 1) // for a slow machine
	if n := strings.Count(log.String(), "\n"); n <= maxWarnings || n > most || !strings.Contains(log.String(), "left out") {
		t.Errorf("%d lines, want at most %d", n, most)
	}
}

func TestWarnings(t *testing.T) {
	var w warnings
	start := time.Now()
	for _, period := range []time.Duration{0, warningsPeriod, 5 * warningsPeriod} {
		for i := range 3 * maxWarnings {
			ok, last := w.next(start.Add(period + time.Duration(i)))
			if ok != (i < maxWarnings) || last != (i == maxWarnings-1) {
				t.Fatalf("%v, warning %d: %t, %t", period, i, ok, last)
			}
		}
	}
}
