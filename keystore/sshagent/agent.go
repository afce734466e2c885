package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
)

// How long to wait for an agent that says nothing, even if no context ends. A signature
// may wait for a person.
const (
	listLimit = 10 * time.Second
	signLimit = 2 * time.Minute
)

// An agent is the place of an ssh-agent.
type agent struct{ socket string }

// errRefused means that the agent answered with SSH_AGENT_FAILURE, which gives no reason.
var errRefused = errors.New("it refused the request")

// ask sends a request on a connection of its own and returns the contents of the answer,
// whose type must be want. It closes the connection when ctx ends or limit is over. An
// error names the agent.
func (a agent) ask(ctx context.Context, limit time.Duration, kind sshwire.Message, contents []byte, want sshwire.Message) ([]byte, error) {
	answer, err := a.exchange(ctx, limit, kind, contents, want)
	if err != nil {
		return nil, a.named(err)
	}
	return answer, nil
}

// named returns err with the name of the agent.
func (a agent) named(err error) error { return fmt.Errorf("ssh-agent at %s: %w", a.socket, err) }

func (a agent) exchange(ctx context.Context, limit time.Duration, kind sshwire.Message, contents []byte, want sshwire.Message) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	late := fmt.Errorf("it did not answer within %v: %w", limit, context.DeadlineExceeded)
	bounded, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	c, err := dial(bounded, a.socket)
	if err == nil {
		defer c.Close()
		stop := context.AfterFunc(bounded, func() { _ = c.Close() }) // ends a Read and a Write
		defer stop()
		if err = sshwire.WriteMessage(c, kind, contents); err == nil {
			if kind, contents, err = sshwire.ReadMessage(c); err != nil && !isClosed(err) {
				err = garbled(err)
			}
		}
	}
	switch cause := context.Cause(bounded); {
	case err == nil:
		return check(kind, contents, want)
	case errors.Is(cause, context.DeadlineExceeded):
		return nil, signer.WithHint(fmt.Errorf("%w: it hangs: %w", signer.ErrUnavailable, cause),
			"answer the question of the agent, if it asks one, or restart the agent; this shows whether it answers: ssh-add -l")
	case cause != nil:
		return nil, cause
	case isClosed(err) && c != nil:
		return nil, signer.WithHint(fmt.Errorf("%w: it closed the connection", signer.ErrUnavailable),
			"this shows whether the agent answers: ssh-add -l")
	}
	return nil, err
}

// isClosed reports whether err is that of a connection, not of what was read.
func isClosed(err error) bool {
	var number syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &number)
}

// check checks the type of an answer.
func check(kind sshwire.Message, contents []byte, want sshwire.Message) ([]byte, error) {
	switch kind {
	case want:
		return contents, nil
	case sshwire.Failure, sshwire.ExtensionFailure:
		return nil, errRefused
	}
	return nil, garbled(fmt.Errorf("a message of type %d instead of %d", kind, want))
}

// garbled is the error for an answer that is not one of the protocol.
func garbled(err error) error {
	return signer.WithHint(fmt.Errorf("its answer is not one of an ssh-agent: %w", err),
		"check that the socket is that of an ssh-agent: ssh-add -l")
}

// unreachable is the error for an agent to which there is no connection.
func unreachable(err error) error {
	return signer.WithHint(fmt.Errorf("%w: no connection: %w", signer.ErrUnavailable, err),
		`start an agent with eval "$(ssh-agent)", or check the variable `+socketVariable)
}
