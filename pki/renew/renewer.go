package renew

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// ErrUnfit is wrapped by the error for a certificate that was obtained, but must
// not replace the one in use.
var ErrUnfit = errors.New("the new certificate is not used")

// A Config describes one certificate and how it is renewed.
type Config struct {
	Way Way

	// Open opens the key with the certificate in use. The Renewer closes it.
	Open func(ctx context.Context) (signer.Signer, error)

	// Key returns the key for the new certificate and its name, which is
	// written down. After an interruption it gets the name from before; at
	// first it gets "". The Renewer closes the key.
	Key func(ctx context.Context, name string) (signer.Signer, string, error) // nil: the key stays

	// Install replaces the certificate in use by the chain for the key with
	// the name, which is "" if the key stays. It must be atomic, and may be
	// called again with the same arguments.
	Install func(ctx context.Context, name string, chain []*x509.Certificate) error

	// Check makes the last checks of a new certificate, such as a session
	// with it. It borrows both.
	Check func(ctx context.Context, old, renewed signer.Signer) error // nil: none

	AllowChange bool             // the new certificate may be another identity
	StateFile   string           // a file in a folder that exists
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: discard
}

// A Renewer renews one certificate. It is safe for concurrent use, also by several
// processes with the same state file.
type Renewer struct{ config Config }

// New returns a Renewer.
func New(config Config) *Renewer {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Renewer{config}
}

// A Status describes the certificate in use.
type Status struct {
	Certificate *x509.Certificate
	Due         time.Time
	Overdue     time.Time // somebody must look if it was not renewed by then
	Next        time.Time // of the next try, which is not before Due
	Failures    int       // in a row
	Problem     string    // of the last try; "": none
}

func (s state) status(leaf *x509.Certificate) Status {
	plan := Schedule{s.Obtained, leaf.NotAfter, leaf.PublicKey}
	next := plan.Due()
	if s.Next.After(next) {
		next = s.Next
	}
	return Status{leaf, plan.Due(), plan.Overdue(), next, s.Failures, s.Problem}
}

// Status opens the key and returns the state of its certificate.
func (r *Renewer) Status(ctx context.Context) (Status, error) {
	old, err := r.config.Open(ctx)
	if err != nil {
		return Status{}, err
	}
	defer old.Close()
	leaf, err := leafOf(old)
	if err != nil {
		return Status{}, err
	}
	s, err := r.load(leaf)
	return s.status(leaf), err
}

func leafOf(s signer.Signer) (*x509.Certificate, error) {
	if chain := s.Chain(); len(chain) > 0 {
		return chain[0], nil
	}
	return nil, signer.ErrNoCertificate
}

// Renew renews the certificate, whether it is due or not, and returns the new
// one. After an error the certificate in use is still there, and the next Renew
// continues what this one has begun. If another process renews it at this time,
// the error wraps [signer.ErrUnavailable].
func (r *Renewer) Renew(ctx context.Context) (*x509.Certificate, error) {
	lock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	old, err := r.config.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer old.Close()
	leaf, err := leafOf(old)
	if err != nil {
		return nil, err
	}
	s, err := r.load(leaf)
	if err != nil {
		return nil, err
	}
	renewed, err := r.attempt(ctx, old, &s)
	if err == nil {
		return renewed, nil
	}
	now := r.config.Now()
	plan := Schedule{s.Obtained, leaf.NotAfter, leaf.PublicKey}
	var wait *WaitError
	switch {
	case errors.As(err, &wait) && wait.After > 0:
		s.Next = now.Add(min(wait.After, plan.Pause(1<<10)))
	default:
		s.Failures++
		s.Next = now.Add(plan.Pause(s.Failures))
	}
	s.Problem = err.Error()
	return nil, errors.Join(err, r.save(s))
}

func (r *Renewer) lock() (*os.File, error) {
	path := r.config.StateFile + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	held, err := filelock.TryLock(f)
	if err == nil && !held {
		err = signer.WithHint(fmt.Errorf("another process renews this certificate: %w", signer.ErrUnavailable), "wait until it is done")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// attempt makes one try and changes s, which it saves at each step.
func (r *Renewer) attempt(ctx context.Context, old signer.Signer, s *state) (*x509.Certificate, error) {
	key, closeKey, err := r.begin(ctx, old, s)
	defer closeKey()
	if err != nil {
		return nil, err
	}
	p := s.Pending
	if len(p.Obtained) == 0 {
		p.Attempts++
		if err := r.save(*s); err != nil {
			return nil, err
		}
		certs, err := r.config.Way.Renew(ctx, Request{Old: old, CSR: p.CSR, Token: p.Token, Attempt: p.Attempts})
		if err != nil {
			if errors.Is(err, ErrRejected) {
				s.Pending = nil // the next try is another request
			}
			return nil, err
		}
		for _, c := range certs {
			p.Obtained = append(p.Obtained, c.Raw)
		}
		if err := r.save(*s); err != nil {
			return nil, err
		}
	}
	return r.finish(ctx, old, key, s)
}

// begin returns the key for the new certificate, which is old itself if it stays,
// and writes down what will be asked. The caller calls closeKey, also after an
// error.
func (r *Renewer) begin(ctx context.Context, old signer.Signer, s *state) (key signer.Signer, closeKey func(), err error) {
	name := ""
	if s.Pending != nil {
		name = s.Pending.Key
	}
	key, closeKey = old, func() {}
	if r.config.Key != nil {
		if key, name, err = r.config.Key(ctx, name); err != nil {
			return nil, closeKey, err
		}
		closeKey = func() { _ = key.Close() }
	}
	if s.Pending != nil && s.Pending.Key == name {
		return key, closeKey, nil
	}
	csr, err := pki.NewRequest(rand.Reader, signer.WithContext(ctx, key), pki.NamesOf(old.Chain()[0]))
	if err != nil {
		return nil, closeKey, err
	}
	s.Pending = &pending{CSR: csr, Token: newToken(), Key: name, Since: r.config.Now().UTC().Truncate(time.Second)}
	return key, closeKey, r.save(*s)
}

// finish proves the certificate that was obtained and puts it in use.
func (r *Renewer) finish(ctx context.Context, old, key signer.Signer, s *state) (*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, der := range s.Pending.Obtained {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, unfit(err)
		}
		certs = append(certs, c)
	}
	now := r.config.Now()
	chain, err := r.prove(ctx, old, key, certs, now)
	if err != nil {
		if errors.Is(err, ErrUnfit) {
			s.Pending = nil // ask for another one
		}
		return nil, err
	}
	if err := r.config.Install(ctx, s.Pending.Key, chain); err != nil {
		return nil, err
	}
	*s = state{Version: stateVersion, Certificate: hashOf(chain[0]), Obtained: now.UTC().Truncate(time.Second)}
	return chain[0], r.save(*s)
}

// Run renews the certificate whenever it is due, until ctx ends. It logs
// failures, and warns when a certificate is overdue. It never gives up, also not
// after the certificate has expired.
func (r *Renewer) Run(ctx context.Context) error {
	for {
		status, err := r.Status(ctx)
		wait := firstRetry // the key or the state cannot be read
		switch now := r.config.Now(); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			r.config.Logger.Error("the certificate cannot be examined", "error", err, "hint", signer.Hint(err))
		case now.Before(status.Next):
			wait = min(status.Next.Sub(now), time.Hour) // the clock can be set
		default:
			wait = r.once(ctx, status)
		}
		if err := await.Pause(ctx, wait); err != nil {
			return context.Cause(ctx)
		}
	}
}

// once renews the certificate and logs the result. It returns how long to wait at
// least, which is not in the state if that could not be written.
func (r *Renewer) once(ctx context.Context, before Status) time.Duration {
	renewed, err := r.Renew(ctx)
	log := r.config.Logger.With("subject", before.Certificate.Subject.String(), "not_after", before.Certificate.NotAfter)
	switch {
	case err == nil:
		log.Info("the certificate was renewed", "until", renewed.NotAfter)
		return 0
	case r.config.Now().After(before.Overdue):
		log.Error("the certificate is overdue and was not renewed", "error", err, "hint", signer.Hint(err))
	default:
		log.Warn("the certificate was not renewed", "error", err, "hint", signer.Hint(err))
	}
	return Schedule{before.Certificate.NotBefore, before.Certificate.NotAfter, nil}.Pause(1)
}
