package renew

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/signer"
)

// look is the longest time until Run looks at the certificate again: another
// process can replace it, and the clock can be set.
const look = time.Hour

// Run renews the certificate whenever it is due, until ctx ends, and returns the
// cause of that. It logs failures, and reports a certificate that is overdue as an
// error. It never gives up, also not after the certificate has expired.
func (r *Renewer) Run(ctx context.Context) error {
	deploys := 0 // that failed, in a row
	switch status, err := r.Status(ctx); {
	case err != nil: // step logs it
	case status.Unsupported != nil:
		r.config.Logger.Warn("the certificate will not be renewed", append(logging.Error(status.Unsupported, signer.Hint(status.Unsupported)), "not_after", status.Certificate.NotAfter)...)
	default:
		r.config.Logger.Info("the certificate will be renewed", "subject", status.Certificate.Subject.String(), "due", status.Next, "not_after", status.Certificate.NotAfter)
	}
	for {
		wait := r.step(ctx, &deploys)
		if err := await.Pause(ctx, wait); err != nil {
			return context.Cause(ctx)
		}
	}
}

// step does what is due now, and returns how long to wait for the next step. deploys
// counts failures of Config.Deploy in a row.
func (r *Renewer) step(ctx context.Context, deploys *int) time.Duration {
	status, err := r.Status(ctx)
	switch now := r.config.Now(); {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		r.config.Logger.Error("the certificate cannot be examined for its renewal", logging.Error(err, signer.Hint(err))...)
		return firstRetry
	case !now.Before(status.Next):
		return r.once(ctx, status, deploys)
	case status.Undeployed:
		if err := r.Deploy(ctx); err == nil {
			*deploys = 0
			return 0
		} else if ctx.Err() == nil {
			r.logDeploy(err)
		}
		*deploys++
		return min(status.Next.Sub(now), deployPause(*deploys))
	default:
		return min(status.Next.Sub(now), look)
	}
}

// once renews the certificate and logs the result. It returns how long to wait at
// least, which is not in the state if that could not be written.
func (r *Renewer) once(ctx context.Context, before Status, deploys *int) time.Duration {
	renewed, err := r.Renew(ctx)
	log := r.config.Logger.With("subject", before.Certificate.Subject.String())
	failed := append(logging.Error(err, signer.Hint(err)), "not_after", before.Certificate.NotAfter)
	switch {
	case renewed != nil:
		log.Info("the certificate was renewed", "not_after", renewed.NotAfter)
		if *deploys = 0; err == nil {
			return 0
		}
		r.logDeploy(err)
		*deploys = 1
		return deployPause(*deploys)
	case ctx.Err() != nil:
		return 0
	case errors.As(err, new(*WaitError)) && !before.IsOverdue(r.config.Now()):
		log.Info("the renewal waits for the CA", failed...)
	case before.IsOverdue(r.config.Now()):
		log.Error("the certificate is overdue and was not renewed", failed...)
	default:
		log.Warn("the certificate was not renewed", failed...)
	}
	plan := Schedule{before.Obtained, before.Certificate.NotAfter, nil}
	if errors.Is(err, errors.ErrUnsupported) { // until somebody replaces the key
		return min(look, plan.longestPause())
	}
	return plan.Pause(1)
}

// deployPause returns how long to wait after so many failures of Config.Deploy in a
// row: from a minute, doubled each time, up to mostRetry.
func deployPause(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 16), mostRetry)
}

func (r *Renewer) logDeploy(err error) {
	r.config.Logger.Error("the new certificate is in use, but what follows a renewal failed", logging.Error(err, signer.Hint(err))...)
}

// IsDue reports whether the renewal is due at the time now.
func (s Status) IsDue(now time.Time) bool { return !now.Before(s.Due) }

// IsOverdue reports whether the certificate should have been renewed long before
// now.
func (s Status) IsOverdue(now time.Time) bool { return now.After(s.Overdue) }

// IsWaiting reports whether the CA has the request and has not issued the certificate
// yet, for example because a person has to approve it. Problem says more.
func (s Status) IsWaiting() bool { return s.Failures == 0 && s.Problem != "" }
