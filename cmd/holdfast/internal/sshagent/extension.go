package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
)

const (
	queryExtension = "query" // draft-ietf-sshm-ssh-agent, section 3.8
	bindExtension  = "session-bind@openssh.com"

	// maxBound is how often a connection can be bound: for each hop of a forwarded
	// agent. OpenSSH has the same limit (AGENT_MAX_SESSION_IDS).
	maxBound = 16
)

// A binding is a connection of SSH that a client uses the agent for (session-bind in
// OpenSSH's PROTOCOL.agent).
type binding struct {
	host      string // the fingerprint of its key
	id        []byte // of the session
	forwarded bool
}

// extension answers the extensions. The answer to an unknown one is a Failure; a known
// one that fails is answered with ExtensionFailure.
func (s *session) extension(_ context.Context, contents []byte) (sshwire.Message, []byte, error) {
	r := sshwire.NewReader(contents)
	name, rest := r.Text(), r.Remaining()
	if err := r.End(); err != nil {
		return sshwire.Failure, nil, fmt.Errorf("extension: %w", err)
	}
	for _, e := range []struct {
		name   string
		handle func([]byte) (sshwire.Message, []byte, error)
	}{
		{queryExtension, query},
		{bindExtension, s.bind},
	} {
		if e.name != name {
			continue
		}
		answer, contents, err := e.handle(rest)
		if err != nil {
			return sshwire.ExtensionFailure, nil, fmt.Errorf("%s: %w", name, err)
		}
		return answer, contents, nil
	}
	s.agent.log.Debug("refused an extension")
	return sshwire.Failure, nil, nil
}

// query lists the extensions.
func query(rest []byte) (sshwire.Message, []byte, error) {
	if len(rest) > 0 {
		return 0, nil, errors.New("the request has contents")
	}
	var b sshwire.Builder
	b.Text(queryExtension)
	b.Text(queryExtension)
	b.Text(bindExtension)
	return sshwire.ExtensionResponse, b.Data(), nil
}

// bind notes for which connection the client uses the agent. The host proves with a
// signature that it takes part in the session.
func (s *session) bind(rest []byte) (sshwire.Message, []byte, error) {
	r := sshwire.NewReader(rest)
	host, id, signature, forwarded := r.Bytes(), r.Bytes(), r.Bytes(), r.Bool()
	if err := r.End(); err != nil {
		return 0, nil, err
	}
	pub, err := sshwire.ParsePublicKey(host)
	if err != nil {
		return 0, nil, fmt.Errorf("key of the host: %w", err)
	}
	algorithm, sig, err := sshwire.ParseSignature(pub, signature)
	if err != nil {
		return 0, nil, err
	}
	algorithms := sshwire.Algorithms(pub)
	i := slices.IndexFunc(algorithms, func(a sshwire.Algorithm) bool { return a.Name == algorithm })
	if i < 0 || !verifies(pub, algorithms[i], id, sig) {
		return 0, nil, errors.New("the signature of the host is not valid")
	}
	b := binding{sshwire.FingerprintOf(host).String(), bytes.Clone(id), forwarded}
	for _, other := range s.bound {
		switch {
		case bytes.Equal(other.id, b.id) && other.host == b.host:
			return sshwire.Success, nil, nil // again, as after new keys for the connection
		case bytes.Equal(other.id, b.id):
			return 0, nil, errors.New("the session is bound to another host")
		case !other.forwarded:
			return 0, nil, errors.New("the agent is bound to a connection that does not forward it")
		}
	}
	if len(s.bound) >= maxBound {
		return 0, nil, fmt.Errorf("the agent is bound to %d connections", maxBound)
	}
	s.bound = append(s.bound, b)
	s.agent.log.Debug("bound to a connection", "host", b.host, "forwarded", forwarded)
	return sshwire.Success, nil, nil
}
