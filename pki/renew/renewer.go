package renew

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// ErrUnfit is wrapped by the error for a certificate that was obtained, but must
// not replace the one in use.
var ErrUnfit = errors.New("the new certificate is not used")

// ErrInProgress is wrapped by the error for a certificate that another process renews at
// this time.
var ErrInProgress = errors.New("another process renews this certificate")

// A Config describes one certificate and how it is renewed.
type Config struct {
	Way Way

	// Open opens the key with the certificate in use. The Renewer closes it.
	Open func(ctx context.Context) (signer.Signer, error)

	// Key returns the key for the new certificate and its name, which is
	// written down, or a nil key if the key stays. begun is the name of the
	// key of a renewal that was begun, or "". The CA may have issued its
	// certificate, so Key returns that key, unless it is lost. It borrows old.
	// The Renewer closes the key.
	Key func(ctx context.Context, old signer.Signer, begun string) (key signer.Signer, name string, err error) // nil: the key stays

	// Ready returns an error if Install could not replace the certificate of
	// old, so that the CA need not be asked. It borrows old.
	Ready func(ctx context.Context, old signer.Signer) error // nil: it can

	// Install replaces old, the certificate in use, by the chain for the key
	// with the name, which is "" if the key stays. Open then returns the new
	// key and certificate, and at each time before, the old ones or the new
	// ones. After an interruption Install is called again, perhaps with the
	// new certificate as the one in use. It borrows the certificates.
	Install func(ctx context.Context, old *x509.Certificate, name string, chain []*x509.Certificate) error

	// Check makes the last checks of a new certificate, such as a session
	// with it. It borrows both. An error that wraps [ErrUnfit] discards the
	// certificate; after any other the same certificate is checked again.
	Check func(ctx context.Context, old, renewed signer.Signer) error // nil: none

	// Deploy tells others of the new certificate, which is in use. It is
	// called again if it fails or is interrupted. It borrows the certificate.
	Deploy func(ctx context.Context, leaf *x509.Certificate) error // nil: nobody

	AllowChange bool             // the new certificate may be another identity
	StateFile   string           // a file in a folder that exists
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: discard
}

// A Renewer renews one certificate. It is safe for concurrent use, also by several
// processes with the same state file.
type Renewer struct {
	config Config

	mu   sync.Mutex
	last Status
}

// New returns a Renewer.
func New(config Config) *Renewer {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Renewer{config: config}
}

// A Status describes the certificate in use.
type Status struct {
	Certificate *x509.Certificate // nil: not known yet
	Obtained    time.Time
	Due         time.Time
	Overdue     time.Time // somebody must look if it was not renewed by then
	Next        time.Time // of the next try, which is not before Due
	Failures    int       // in a row
	Problem     string    // of the last try; "": none
	Hint        string    // of Problem, as of [signer.Hint]; "": none
	Tried       time.Time // when the try with Problem ended
	Undeployed  bool      // Renewer.Deploy has to be called

	// Unsupported is the error of [CheckKey]: every Renew fails until somebody
	// replaces the key or its certificate.
	Unsupported error
}

// CheckKey returns an error if the certificate of a key with this public key cannot be
// renewed; see [pki.CheckMLDSA].
func CheckKey(pub crypto.PublicKey) error {
	if err := pki.CheckMLDSA(pub); err != nil {
		return signer.WithHint(fmt.Errorf("the certificate cannot be renewed: %w", err),
			"renew the certificate with OpenSSL 3.5 or later, or with another CA, and store it with holdfast install; or use an ECDSA key")
	}
	return nil
}

// status returns the status of the certificate now. A next try that
// is further away than any pause was planned with a clock that was wrong.
func (r *Renewer) status(s state, leaf *x509.Certificate) Status {
	now := r.config.Now()
	plan := Schedule{s.Obtained, leaf.NotAfter, signer.PublicKeyOf(leaf)}
	next := plan.Due()
	if s.Next.After(next) && !s.Next.After(now.Add(plan.longestPause())) {
		next = s.Next
	}
	return Status{leaf, s.Obtained, plan.Due(), plan.Overdue(), next, s.Failures, s.Problem, s.Hint, s.Tried,
		r.config.Deploy != nil && s.Undeployed || s.isIncomplete(leaf), CheckKey(plan.Key)}
}

// Last returns the status when [Renewer.Run], [Renewer.Renew] or [Renewer.Status]
// last read it. It opens nothing.
func (r *Renewer) Last() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func (r *Renewer) keep(s Status) Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = s
	return s
}

// Status opens the key and returns the state of its certificate.
func (r *Renewer) Status(ctx context.Context) (Status, error) {
	old, err := r.config.Open(ctx)
	if err != nil {
		return Status{}, err
	}
	defer old.Close()
	leaf, s, err := r.stateOf(old)
	if err != nil {
		return Status{}, err
	}
	return r.keep(r.status(s, leaf)), nil
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
// the error wraps [ErrInProgress]. If the certificate is for an ML-DSA key, the error
// is that of [CheckKey], and nothing is written. If the certificate was renewed and
// Config.Deploy fails, Renew returns both.
func (r *Renewer) Renew(ctx context.Context) (*x509.Certificate, error) {
	old, err := r.config.Open(ctx) // before the lock: it can wait for a person
	if err != nil {
		return nil, err
	}
	defer old.Close()
	if err := CheckKey(old.Public()); err != nil {
		return nil, err
	}
	lock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	leaf, s, err := r.stateOf(old)
	if err != nil {
		return nil, err
	}
	if err := r.complete(ctx, leaf, &s); err != nil {
		return nil, err
	}
	renewed, err := r.attempt(ctx, old, &s)
	now := r.config.Now()
	if err == nil {
		err = r.deploy(ctx, renewed, &s)
		r.keep(r.status(s, renewed))
		return renewed, err
	}
	plan := Schedule{s.Obtained, leaf.NotAfter, signer.PublicKeyOf(leaf)}
	var wait *WaitError
	switch {
	case errors.As(err, &wait) && wait.After > 0:
		s.Next = now.Add(min(wait.After, plan.longestPause()))
		if s.Failures == 0 { // otherwise the last failure says more
			s.Problem, s.Hint, s.Tried = err.Error(), signer.Hint(err), now
		}
	default:
		s.Failures++
		s.Next = now.Add(plan.Pause(s.Failures))
		s.Problem, s.Hint, s.Tried = err.Error(), signer.Hint(err), now
	}
	r.keep(r.status(s, leaf))
	return nil, errors.Join(err, r.save(s))
}

// stateOf returns the certificate of the key in use, and the state of its renewal.
func (r *Renewer) stateOf(old signer.Signer) (leaf *x509.Certificate, s state, err error) {
	if leaf, err = leafOf(old); err != nil {
		return nil, s, err
	}
	if s, err = r.load(leaf); err != nil {
		r.keep(r.status(s, leaf))
	}
	return leaf, s, err
}

// Deploy completes an interrupted renewal whose certificate is in use, and calls
// Config.Deploy if it has not succeeded yet for that certificate.
func (r *Renewer) Deploy(ctx context.Context) error {
	old, err := r.config.Open(ctx)
	if err != nil {
		return err
	}
	defer old.Close()
	lock, err := r.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	leaf, s, err := r.stateOf(old)
	if err != nil {
		return err
	}
	if err = r.complete(ctx, leaf, &s); err == nil {
		err = r.deploy(ctx, leaf, &s)
	}
	r.keep(r.status(s, leaf))
	return err
}

func (r *Renewer) deploy(ctx context.Context, leaf *x509.Certificate, s *state) error {
	if !s.Undeployed || r.config.Deploy == nil {
		return nil
	}
	if err := r.config.Deploy(ctx, leaf); err != nil {
		return err
	}
	s.Undeployed = false
	return r.save(*s)
}

func (r *Renewer) lock() (*os.File, error) {
	path := r.config.StateFile + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, signer.WithHint(fmt.Errorf("the state of the renewal cannot be written: %w", err), "give this user the right to write to the folder "+filepath.Dir(path)+", or name another file with Config.StateFile")
	}
	if err != nil {
		return nil, err
	}
	held, err := filelock.TryLock(f)
	if err == nil && !held {
		err = signer.WithHint(fmt.Errorf("%s: %w", r.config.StateFile, ErrInProgress), "wait until it is done")
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
		if r.config.Ready != nil {
			if err := r.config.Ready(ctx, old); err != nil {
				return nil, err
			}
		}
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
		p.ObtainedAt = r.config.Now().UTC()
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
	key, closeKey = old, func() {}
	name, begun := "", ""
	if s.Pending != nil {
		begun = s.Pending.Key
	}
	if r.config.Key != nil {
		k, n, err := r.config.Key(ctx, old, begun)
		if err != nil {
			return nil, closeKey, err
		}
		if k != nil {
			key, name, closeKey = k, n, func() { _ = k.Close() }
		}
	}
	if s.Pending.isFor(name, key.Public()) {
		return key, closeKey, nil
	}
	csr, err := pki.NewRenewalRequest(rand.Reader, signer.WithContext(ctx, key), old.Chain()[0])
	if err != nil {
		return nil, closeKey, err
	}
	s.Pending = &pending{CSR: csr, Token: newToken(), Key: name, Since: r.config.Now().UTC().Truncate(time.Second)}
	return key, closeKey, r.save(*s)
}

// finish proves the certificate that was obtained and puts it in use.
func (r *Renewer) finish(ctx context.Context, old, key signer.Signer, s *state) (*x509.Certificate, error) {
	certs, err := s.Pending.certificates()
	if err != nil {
		return nil, unfit(err)
	}
	plan := Schedule{s.Obtained, old.Chain()[0].NotAfter, old.Public()}
	chain, err := r.prove(ctx, old, key, certs, plan, r.config.Now())
	if err != nil {
		if errors.Is(err, ErrUnfit) {
			s.Pending = nil // ask for another one
		}
		return nil, err
	}
	if err := r.config.Install(ctx, old.Chain()[0], s.Pending.Key, chain); err != nil {
		return nil, err
	}
	if leaf := chain[0]; leaf.NotAfter.Before(old.Chain()[0].NotAfter) {
		r.config.Logger.Warn("the new certificate expires before the old one", "until", leaf.NotAfter)
	}
	*s = renewed(chain[0], s.Pending.ObtainedAt)
	return chain[0], r.save(*s)
}

// complete repeats the installation of a renewal that was interrupted in or after it.
// leaf is the certificate in use.
func (r *Renewer) complete(ctx context.Context, leaf *x509.Certificate, s *state) error {
	if !s.isIncomplete(leaf) {
		return nil
	}
	certs, err := s.Pending.certificates()
	if err != nil {
		return err
	}
	found, err := signer.SelectCertificates(signer.PublicKeyOf(leaf), certs, r.config.Now())
	if err != nil {
		return err
	}
	if err := r.config.Install(ctx, leaf, s.Pending.Key, found.Issued()); err != nil {
		return err
	}
	*s = renewed(leaf, s.Pending.ObtainedAt)
	return r.save(*s)
}
