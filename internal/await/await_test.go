package await

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestInTime(t *testing.T) {
	why := errors.New("it took too long")
	for _, c := range []struct {
		name      string
		takes     time.Duration
		fails     error
		want      int
		wantErr   error
		wantAfter time.Duration
		discards  bool
	}{
		{"in time", time.Second, nil, 7, nil, time.Second, false},
		{"fails in time", time.Second, errors.ErrUnsupported, 7, errors.ErrUnsupported, time.Second, false},
		{"late", 3 * time.Second, nil, 0, why, 2 * time.Second, true},
		{"fails late", 3 * time.Second, errors.ErrUnsupported, 0, why, 2 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, why)
				defer cancel()
				begin := time.Now()
				discarded := make(chan int, 1)
				got, inTime, err := InTime(ctx, func() (int, error) {
					time.Sleep(c.takes)
					return 7, c.fails
				}, func(v int) { discarded <- v })
				if inTime != (c.takes < 2*time.Second) {
					t.Errorf("in time: %t", inTime)
				}
				if got != c.want || !errors.Is(err, c.wantErr) || (err == nil) != (c.wantErr == nil) || time.Since(begin) != c.wantAfter {
					t.Errorf("%d, %v after %v; want %d, %v after %v", got, err, time.Since(begin), c.want, c.wantErr, c.wantAfter)
				}
				time.Sleep(c.takes)
				synctest.Wait()
				if (len(discarded) == 1) != c.discards {
					t.Errorf("%d values were discarded", len(discarded))
				}
			})
		})
	}
}

func TestResult(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	if got, err := Result(ctx, func() (int, error) { return 7, errors.ErrUnsupported }, nil); got != 7 || err != errors.ErrUnsupported {
		t.Errorf("%d, %v", got, err)
	}
	why, never := errors.New("interrupted"), make(chan struct{})
	defer close(never)
	end(why)
	if got, err := Result(ctx, func() (int, error) { <-never; return 7, nil }, nil); got != 0 || err != why {
		t.Errorf("%d, %v; want %v", got, err, why)
	}
}

func TestWithGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("interrupted")
		ctx, end := context.WithCancelCause(t.Context())
		extended, cancel := WithGrace(ctx, time.Second)
		defer cancel()
		time.Sleep(time.Minute)
		if extended.Err() != nil {
			t.Fatalf("it ended before ctx: %v", extended.Err())
		}
		end(why)
		begin := time.Now()
		<-extended.Done()
		if took := time.Since(begin); took != time.Second || context.Cause(extended) != why {
			t.Errorf("it ended %v after ctx with cause %v, want 1s and %v", took, context.Cause(extended), why)
		}
	})
}

func TestWithGraceIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		extended, cancel := WithGrace(ctx, time.Hour)
		end()
		cancel()
		begin := time.Now()
		<-extended.Done()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it ended %v after it was cancelled", took)
		}
	})
}

func TestPause(t *testing.T) {
	for _, c := range []struct {
		name string
		d    time.Duration
		want error
		took time.Duration
	}{
		{"over", time.Second, nil, time.Second},
		{"interrupted", time.Hour, context.DeadlineExceeded, time.Minute},
		{"none", -time.Second, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.ErrUnsupported)
				defer cancel()
				begin := time.Now()
				if err := Pause(ctx, c.d); err != c.want || time.Since(begin) != c.took {
					t.Errorf("%v after %v; want %v after %v", err, time.Since(begin), c.want, c.took)
				}
			})
		})
	}
}

func TestInGrace(t *testing.T) {
	for _, c := range []struct {
		takes, grace time.Duration
		inTime       bool
		after        time.Duration
	}{
		{time.Second, time.Second, true, time.Second},
		{5 * time.Second, 4 * time.Second, true, 5 * time.Second},
		{5 * time.Second, time.Second, false, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			begin := time.Now()
			got, inTime, err := InGrace(ctx, c.grace, func() (int, error) {
				time.Sleep(c.takes)
				return 7, nil
			}, nil)
			if inTime != c.inTime || (got == 7) != inTime || (err == nil) != inTime || time.Since(begin) != c.after {
				t.Errorf("%+v: %d, %t, %v after %v", c, got, inTime, err, time.Since(begin))
			}
			time.Sleep(c.takes)
		})
	}
}
