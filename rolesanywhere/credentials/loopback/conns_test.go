package loopback

import (
	"bytes"
	"log/slog"
	"math"
	"strings"
	"testing"
)

// Connections leave half of the file descriptors to other parts of the process.
func TestMaxConns(t *testing.T) {
	for files, want := range map[uint64]int{
		1: 1, 2: 1, 64: 32, 256: 128, 1023: 511, 1024: 512, 1 << 20: 512, math.MaxUint64: 512,
	} {
		if got := maxConns(defaultMaxConns, files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

func TestWarnFewFiles(t *testing.T) {
	for limit, warns := range map[uint64]bool{16: true, fewFiles - 1: true, fewFiles: false, math.MaxUint64: false} {
		var log bytes.Buffer
		warnFewFiles(slog.New(slog.NewTextHandler(&log, nil)), limit)
		if got := strings.Contains(log.String(), "LimitNOFILE"); got != warns {
			t.Errorf("%d files: %q, want a warning: %t", limit, log.String(), warns)
		}
	}
}
