package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// sessions is a Source for commands that go on for longer than a certificate
// may. A key whose references are all files is opened anew for each session
// after the first, so that renewed files are taken; if that cannot be, the key
// that is open goes on. Any other key stays open.
type sessions struct {
	mu     sync.Mutex
	config rolesanywhere.Config // with the key that is open
	used   bool
	reopen func(ctx context.Context) (signer.Signer, error) // nil: the key stays open
	logger *slog.Logger
}

// openSessions opens the key; the caller closes the sessions.
func (a app) openSessions(ctx context.Context, id *identityFlags, f *sessionFlags, logger *slog.Logger) (*sessions, error) {
	key, err := id.openAnew(ctx, a, f.debug)
	if err != nil {
		return nil, err
	}
	s := &sessions{config: f.config, logger: logger}
	s.config.Signer, s.config.CertificateName = key, id.certificateName()
	if err := checkSigner(s.config); err != nil {
		return nil, errors.Join(err, key.Close())
	}
	if id.onlyFiles() {
		alone := a // nobody waits at the terminal any more
		alone.openTTY = func() (tty, error) { return nil, errors.New("not asked again") }
		s.reopen = func(ctx context.Context) (signer.Signer, error) { return id.openAnew(ctx, alone, f.debug) }
	}
	return s, nil
}

// onlyFiles reports whether all that is named is in files.
func (f *identityFlags) onlyFiles() bool {
	for _, name := range []string{f.identity.Key, f.identity.Certificate, f.identity.Intermediates} {
		if ref, err := keystore.ParseRef(name); name != "" && (err != nil || ref.Scheme != keystore.SchemeFile) {
			return false
		}
	}
	return true
}

// Credentials implements [credentials.Source].
func (s *sessions) Credentials(ctx context.Context) (credentials.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used && s.reopen != nil {
		if err := s.renew(ctx); err != nil {
			s.logger.Warn("the key was not opened again; the one that is open goes on", "error", err)
		}
	}
	s.used = true
	client, err := rolesanywhere.New(s.config)
	if err != nil {
		return credentials.Credentials{}, err
	}
	return client.Credentials(ctx)
}

// renew opens the key again, and keeps the old one unless the new one is good.
func (s *sessions) renew(ctx context.Context) error {
	key, err := s.reopen(ctx)
	if err != nil {
		return err
	}
	config := s.config
	config.Signer = key
	if err := checkSigner(config); err != nil {
		return errors.Join(err, key.Close())
	}
	old := s.config.Signer
	s.config = config
	if a, b := old.Chain(), key.Chain(); len(a) > 0 && len(b) > 0 && !bytes.Equal(a[0].Raw, b[0].Raw) {
		s.logger.Info("took another certificate", "certificate", config.CertificateName, "valid_until", b[0].NotAfter)
	}
	return old.Close()
}

// checkSigner checks what would keep every session from being created.
func checkSigner(c rolesanywhere.Config) error {
	if err := rolesanywhere.CheckChain(c.Signer.Chain(), c.Now()); err != nil {
		return &rolesanywhere.CertificateError{Name: c.CertificateName, Err: err}
	}
	return nil
}

// Close closes the key once no session is being created.
func (s *sessions) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config.Signer.Close()
}
