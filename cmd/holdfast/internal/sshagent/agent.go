package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	// signTimeout bounds a signature, with the question before it and the time in which
	// a person touches the device.
	signTimeout = 2 * time.Minute

	maxCertificate = 64 << 10 // bytes of a file
)

// An agent answers the messages of the agent protocol (draft-ietf-sshm-ssh-agent). It is
// safe for concurrent use after the last add.
type agent struct {
	log     *slog.Logger
	timeout time.Duration                                    // of a signature
	confirm func(ctx context.Context, question string) error // nil: nobody is asked

	mu         sync.Mutex
	identities []identity
}

// An identity is a key or a certificate of it.
type identity struct {
	sshwire.Identity
	key         *key
	fingerprint string // of the key, as OpenSSH prints it
}

// list returns the identities.
func (a *agent) list() []identity {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.identities
}

// forget closes the keys. The agent lists none afterwards.
func (a *agent) forget() {
	a.mu.Lock()
	ids := a.identities
	a.identities = nil
	a.mu.Unlock()
	for _, id := range ids {
		if err := id.key.close(); err != nil { // more than once for a key with certificates
			a.log.Debug("closing a key failed", "key", id.key.name, "error", err)
		}
	}
}

// add adds a key, which the agent owns if there is no error.
func (a *agent) add(k *key, comment string) error {
	blob, err := sshwire.MarshalPublicKey(k.public)
	if errors.Is(err, errors.ErrUnsupported) {
		err = signer.WithHint(fmt.Errorf("SSH knows no keys of the type %s: %w", signer.DescribeKey(k.public), errors.ErrUnsupported),
			"use an RSA key, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	for _, other := range a.identities {
		if bytes.Equal(other.Blob, blob) {
			return signer.WithHint(front.Usagef("%s and %s are the same key", other.key.name, k.name), "name it once")
		}
	}
	a.identities = append(a.identities, identity{sshwire.Identity{Blob: blob, Comment: comment}, k, sshwire.FingerprintOf(blob).String()})
	return nil
}

// The type of a certificate for a user (PROTOCOL.certkeys).
const userCertificate = 1

// addCertificate adds an OpenSSH certificate of one of the keys. A server decides
// whether it is valid; now is for a warning.
func (a *agent) addCertificate(path string, now time.Time) error {
	data, err := keystore.ReadFile(path, maxCertificate)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err != nil {
		return badCertificate(err)
	}
	blob, comment, err := sshwire.ParsePublicKeyText(data)
	if err != nil {
		return badCertificate(err)
	}
	pub, rest, ok, err := sshwire.ParseCertificate(blob)
	if err == nil && !ok {
		err = errors.New("a public key, not an OpenSSH certificate")
	}
	if err != nil {
		return badCertificate(err)
	}
	r := sshwire.NewReader(rest)
	r.Uint64() // the serial number
	kind := r.Uint32()
	r.Text()  // the name
	r.Bytes() // the principals
	_, before := r.Uint64(), r.Uint64()
	switch {
	case r.Err() != nil:
		return badCertificate(r.Err())
	case kind != userCertificate:
		return badCertificate(errors.New("the certificate is not for a user, but for a host"))
	case uint64(now.Unix()) >= before:
		a.log.Warn("the OpenSSH certificate has expired", "file", path)
	}
	for _, id := range a.identities {
		if !signer.SamePublicKey(id.key.public, pub) {
			continue
		}
		if comment == "" {
			comment = id.Comment
		}
		a.identities = append(a.identities, identity{sshwire.Identity{Blob: blob, Comment: comment}, id.key, id.fingerprint})
		return nil
	}
	return signer.WithHint(fmt.Errorf("%w, none of those of --private-key", signer.ErrMismatch), "see for which key it is: ssh-keygen -L -f FILE")
}

func badCertificate(err error) error {
	return signer.WithHint(&front.UsageError{Err: err}, "name the file with the certificate of a user, such as id-cert.pub")
}

// A session is one connection of a client.
type session struct {
	agent *agent
	bound []binding // the connections of SSH for which it is used, outermost first
}

// answer returns the answer to a message. ctx ends when the client is gone.
func (s *session) answer(ctx context.Context, kind sshwire.Message, contents []byte) (sshwire.Message, []byte) {
	for _, h := range []struct {
		kind   sshwire.Message
		handle func(context.Context, []byte) (sshwire.Message, []byte, error)
	}{
		{sshwire.RequestIdentities, s.identities},
		{sshwire.SignRequest, s.sign},
		{sshwire.Extension, s.extension},
	} {
		if h.kind != kind {
			continue
		}
		answer, contents, err := h.handle(ctx, contents)
		if err != nil {
			// Only pinentry asks after the start, and the PIN is not kept for it.
			hint := strings.Replace(signer.Hint(err), "use --reuse-pin", "use --pin-source pinentry", 1)
			s.agent.log.Warn("refused a request", logging.Error(err, hint)...)
			return answer, nil
		}
		return answer, contents
	}
	// The keys belong to Holdfast: nobody adds, removes or locks them.
	s.agent.log.Debug("refused a request", "type", int(kind))
	return sshwire.Failure, nil
}

func (s *session) identities(context.Context, []byte) (sshwire.Message, []byte, error) {
	var ids []sshwire.Identity
	for _, id := range s.agent.list() {
		ids = append(ids, id.Identity)
	}
	return sshwire.IdentitiesAnswer, sshwire.MarshalIdentities(ids), nil
}

func (s *session) sign(ctx context.Context, contents []byte) (sshwire.Message, []byte, error) {
	request, err := sshwire.ParseSigning(contents)
	if err != nil {
		return sshwire.Failure, nil, err
	}
	id, ok := s.agent.find(request.Blob)
	if !ok {
		return sshwire.Failure, nil, errors.New("signature with a key that this agent does not have")
	}
	algorithm, err := algorithmFor(id.key, request.Flags)
	if err != nil {
		return sshwire.Failure, nil, fmt.Errorf("%s: %w", id.key.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.agent.timeout)
	defer cancel()
	if s.agent.confirm != nil {
		if err := s.agent.confirm(ctx, s.question(id)); err != nil {
			return sshwire.Failure, nil, fmt.Errorf("%s: %w", id.key.name, err)
		}
	}
	signature, err := id.key.sign(ctx, request.Message, algorithm)
	if err != nil {
		return sshwire.Failure, nil, fmt.Errorf("%s: %w", id.key.name, err)
	}
	s.agent.log.Debug("signed", "key", id.fingerprint, "algorithm", algorithm.Name)
	var b sshwire.Builder
	b.Bytes(signature)
	return sshwire.SignResponse, b.Data(), nil
}

// find returns the identity of a blob.
func (a *agent) find(blob []byte) (identity, bool) {
	for _, id := range a.list() {
		if bytes.Equal(id.Blob, blob) {
			return id, true
		}
	}
	return identity{}, false
}

// algorithmFor returns the algorithm of a SignRequest. Flags are for RSA keys only; other
// keys have one algorithm.
func algorithmFor(k *key, flags uint32) (sshwire.Algorithm, error) {
	all := sshwire.Algorithms(k.public)
	if len(all) == 1 {
		return all[0], nil
	}
	for _, a := range all {
		if a.Flags == flags {
			return a, nil
		}
	}
	if flags == 0 {
		return sshwire.Algorithm{}, signer.WithHint(fmt.Errorf("the client asked for a signature with SHA-1 (ssh-rsa): %w", errors.ErrUnsupported), "use a client and a server that know rsa-sha2-256 or rsa-sha2-512, such as OpenSSH 7.2 or later")
	}
	return sshwire.Algorithm{}, fmt.Errorf("the client asked for a signature with the flags %#x: %w", flags, errors.ErrUnsupported)
}

// question returns the text of --confirm.
func (s *session) question(id identity) string {
	text := fmt.Sprintf("Allow use of key %s?\nKey fingerprint %s.", front.OneLine(id.Comment), id.fingerprint)
	if n := len(s.bound); n > 0 {
		text += fmt.Sprintf("\nConnection to the host with the key %s.", s.bound[n-1].host)
	}
	return text
}
