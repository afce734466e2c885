package vending

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/sharedfile"
)

// A fakeSource returns credentials that are valid for one hour, or the error of
// err.
type fakeSource struct {
	mu    sync.Mutex
	calls int
	err   func(call int) error
}

func (s *fakeSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if err := s.err(s.calls); err != nil {
		return credentials.Credentials{}, err
	}
	return credentials.Credentials{
		AccessKeyID: fmt.Sprintf("ASIA%d", s.calls), SecretAccessKey: "TheSecret", SessionToken: "TheToken",
		Expires: time.Now().Add(time.Hour),
	}, nil
}

// runUpdater runs an updater with a cache of source until ctx ends.
func runUpdater(ctx context.Context, file sharedfile.File, source credentials.Source, logger *slog.Logger) {
	u := newUpdater(file, time.Now)
	cache := credentials.Cache{Source: source, Logger: logger, Renewed: func(c credentials.Credentials, err error) {
		if err == nil {
			u.replace(c)
		}
	}}
	u.run(ctx, func(ctx context.Context) { _ = cache.Run(ctx) })
}

// wantUpdates runs an updater for a day. At each time in want, it compares the
// access key in the file. After five minutes it calls repair.
func wantUpdates(t *testing.T, source *fakeSource, path string, repair func(), want map[time.Duration]string) (log string) {
	t.Helper()
	var b bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		begin := time.Now()
		go func() {
			defer close(done)
			logger := slog.New(slog.NewTextHandler(&b, nil))
			runUpdater(ctx, sharedfile.File{Path: path, Profile: "p", Logger: logger}, source, logger)
		}()
		for range 24 * 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if time.Since(begin) == 5*time.Minute {
				repair()
			}
			key, ok := want[time.Since(begin)]
			if !ok {
				continue
			}
			data, _ := os.ReadFile(path)
			_, rest, _ := strings.Cut(string(data), "[p]\naws_access_key_id = ")
			if got, _, _ := strings.Cut(rest, "\n"); got != key {
				t.Errorf("after %v the file has %q, want %q", time.Since(begin), got, key)
			}
		}
		cancel()
		<-done
	})
	for _, secret := range []string{"TheSecret", "TheToken"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("a secret is in the log:\n%s", &b)
		}
	}
	return b.String()
}

func TestUpdaterRenewsAheadOfNeed(t *testing.T) {
	source := &fakeSource{err: func(int) error { return nil }}
	path := filepath.Join(t.TempDir(), ".aws", "credentials")
	log := wantUpdates(t, source, path, func() {}, map[time.Duration]string{
		time.Minute: "ASIA1", 23 * time.Minute: "ASIA1", 46 * time.Minute: "ASIA2", 47 * time.Minute: "ASIA2",
	})
	// A session is renewed 24 to 45 minutes after it was created.
	if lo, hi := 24*60/45, 24*60/24+1; source.calls < lo || source.calls > hi {
		t.Errorf("%d sessions in a day, want %d to %d", source.calls, lo, hi)
	}
	if n := strings.Count(log, "wrote credentials"); n != source.calls {
		t.Errorf("%d of %d were written", n, source.calls)
	}
}

// The updater continues if the service fails at the start and from time to
// time.
func TestUpdaterRetriesRenewals(t *testing.T) {
	source := &fakeSource{err: func(call int) error {
		if call < 5 || call%3 == 0 {
			return errors.New("not now")
		}
		return nil
	}}
	path := filepath.Join(t.TempDir(), "credentials")
	log := wantUpdates(t, source, path, func() {}, map[time.Duration]string{time.Minute: "ASIA5", 46 * time.Minute: "ASIA7"})
	for _, want := range []string{"not now", "wrote credentials"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
}

// If credentials cannot be written, the updater retries without a new session.
func TestUpdaterRetriesWrites(t *testing.T) {
	source := &fakeSource{err: func(int) error { return nil }}
	path := filepath.Join(t.TempDir(), "folder", "credentials")
	if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log := wantUpdates(t, source, path, func() {
		if err := os.Remove(filepath.Dir(path)); err != nil {
			t.Error(err)
		}
	}, map[time.Duration]string{time.Minute: "", 7 * time.Minute: "ASIA1", 46 * time.Minute: "ASIA2"})
	// After pauses of 1, 2, 4, 8, 16 and 32 seconds, there is one attempt per
	// minute.
	if n := strings.Count(log, "could not write the credentials"); n < 9 || n > 12 {
		t.Errorf("%d attempts to write in 5 minutes", n)
	}
}

// Credentials that expired before they could be written are not written.
func TestUpdaterWritesNothingExpired(t *testing.T) {
	source := &fakeSource{err: func(call int) error {
		if call > 1 {
			return errors.New("down")
		}
		return nil
	}}
	path := filepath.Join(t.TempDir(), "folder", "credentials")
	if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			runUpdater(ctx, sharedfile.File{Path: path, Profile: "p", Logger: slog.New(slog.DiscardHandler)}, source, nil)
		}()
		time.Sleep(2 * time.Hour)
		if err := os.Remove(filepath.Dir(path)); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Minute)
		cancel()
		<-done
	})
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file: %v", err)
	}
}

// When the context ends, a renewal in progress is canceled.
func TestUpdaterCancelsRenewal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var renewal error
		source := sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
			<-ctx.Done()
			renewal = ctx.Err()
			return credentials.Credentials{}, renewal
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			runUpdater(ctx, sharedfile.File{Path: path, Profile: "p", Logger: slog.New(slog.DiscardHandler)}, source, nil)
		}()
		time.Sleep(time.Second)
		cancel()
		<-done
		synctest.Wait()
		if !errors.Is(renewal, context.Canceled) {
			t.Errorf("the renewal ended with %v", renewal)
		}
	})
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file: %v", err)
	}
}

func TestCredentialsFile(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string // "": an error
	}{
		{map[string]string{"HOME": "/h"}, "/h/.aws/credentials"},
		{map[string]string{"HOME": "/h", "AWS_SHARED_CREDENTIALS_FILE": "/x/y"}, "/x/y"},
		{map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "y"}, "y"},
		{map[string]string{"HOME": "/h", "AWS_SHARED_CREDENTIALS_FILE": "~/y/z"}, "/h/y/z"},
		{map[string]string{"HOME": "/h", "AWS_SHARED_CREDENTIALS_FILE": ""}, "/h/.aws/credentials"},
		{map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "~/y"}, ""},
		{nil, ""},
	} {
		a := front.App{LookupEnv: func(name string) (string, bool) {
			if name == "USERPROFILE" {
				name = "HOME"
			}
			v, ok := test.env[name]
			return v, ok
		}}
		got, err := credentialsFile(a)
		if filepath.ToSlash(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%v: got %q, %v, want %q", test.env, got, err, test.want)
		}
		if err != nil && !isUsage(err) {
			t.Errorf("%v: error %v is not a usage error", test.env, err)
		}
	}
}

func isUsage(err error) bool {
	var usage *front.UsageError
	return errors.As(err, &usage)
}
