package tpm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// A device is a connection to a TPM.
type device struct {
	transport.TPM
	close func() error
	path  string // "": the TPM of the machine

	// managed means that a resource manager isolates this connection from
	// other connections. A connection that is not managed has exclusive use
	// of the TPM until it is closed.
	managed bool

	parent storageKey // the parent that was read last
}

// open opens a TPM. The device sends commands as sender does, bound by ctx.
func (dial dialer) open(ctx context.Context, path string) (*device, error) {
	d, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &sender{TPM: d.TPM, ctx: ctx, name: deviceName(cmp.Or(d.path, path))}
	d.TPM = s
	end := d.close
	d.close = func() error {
		if !s.abandoned {
			return end()
		}
		// The system may wait for the command before it closes the device.
		ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
		defer cancel()
		_, err := await.Result(ctx, func() (struct{}, error) { return struct{}{}, end() }, nil)
		return err
	}
	return d, nil
}

// bind makes ctx bound the commands from now on.
func (d *device) bind(ctx context.Context) {
	if s, ok := d.TPM.(*sender); ok {
		s.ctx = ctx
	}
}

// timeouts limit how long this package waits for a TPM.
type timeouts struct {
	busy        time.Duration // for a TPM that another program uses
	response    time.Duration // for the response to a command
	rsaCreation time.Duration // for the creation of an RSA key: a discrete TPM can take a minute
}

var defaultTimeouts = timeouts{busy: 15 * time.Second, response: 15 * time.Second, rsaCreation: 3 * time.Minute}

// rsaAreaPrefix is the beginning of the public area of each RSA key that this
// package creates. If another command contains it by chance, that command has
// the longer timeout, too.
var rsaAreaPrefix = []byte{byte(tpm2.TPMAlgRSA >> 8), byte(tpm2.TPMAlgRSA & 0xff), byte(tpm2.TPMAlgSHA256 >> 8), byte(tpm2.TPMAlgSHA256 & 0xff)}

// forCommand returns how long to wait for the response to command.
func (t timeouts) forCommand(command []byte) time.Duration {
	if len(command) >= 10 {
		switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) {
		case tpm2.TPMCCCreate, tpm2.TPMCCCreatePrimary:
			if bytes.Contains(command, rsaAreaPrefix) {
				return t.rsaCreation
			}
		}
	}
	return t.response
}

// cancelGrace is how long a connection waits for a response after its context
// ends. A command that completes leaves fewer objects in a TPM without a resource
// manager. Open and other calls that are not signatures do not wait for it; see
// [bounded]. The callers of this package that are bound by the same context wait for
// a second, so this is less.
const cancelGrace = 700 * time.Millisecond

// errBusy means that another program uses the TPM.
var errBusy = errors.New("is in use by another program")

// retryWhileBusy calls open until its error is not errBusy.
func (t timeouts) retryWhileBusy(ctx context.Context, open func() (*device, error)) (*device, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, t.busy)
	defer cancel()
	pause := time.Millisecond
	for {
		d, err := open()
		if !errors.Is(err, errBusy) {
			return d, err
		}
		if err := await.Pause(ctx, pause/2+rand.N(pause)); err != nil {
			switch {
			case caller.Err() == nil:
				err = fmt.Errorf("waited %v: %w", t.busy, signer.ErrUnavailable)
			case errors.Is(err, context.DeadlineExceeded):
				err = fmt.Errorf("%w: %w", signer.ErrUnavailable, err)
			}
			return nil, signer.WithHint(fmt.Errorf("%w: %w", errBusy, err), "use /dev/tpmrm0: its resource manager lets several programs share the TPM")
		}
		pause = min(2*pause, 8*time.Millisecond)
	}
}

// maxResponse is the maximum size of a response, in bytes. All known TPMs have
// the TPM_PT_MAX_RESPONSE_SIZE 4096.
const maxResponse = 4096

// headerSize is the size of the tag, the size field and the response code of a
// response, in bytes (TPM 2.0 Library, part 1, section 18.1).
const headerSize = 10

// responseSize returns the size in the header of a response, or -1 if the
// header is not that of a TPM.
func responseSize(header []byte) int {
	tag := tpm2.TPMST(binary.BigEndian.Uint16(header))
	size := binary.BigEndian.Uint32(header[2:])
	if tag != tpm2.TPMSTNoSessions && tag != tpm2.TPMSTSessions && tag != tpm2.TPMSTRspCommand || size < headerSize || size > maxResponse {
		return -1
	}
	return int(size)
}

var errNotTPM = errors.New("the device did not respond like a TPM 2.0")

// A sender retries commands that the TPM could not start yet, for example
// during its self-test (part 2, section 6.6.3, warnings). It stops waiting for a
// response cancelGrace after ctx ends, and then only flushes. After an error or
// an invalid response it sends nothing more, because a late response could be
// mistaken for the response to another command.
type sender struct {
	transport.TPM
	ctx       context.Context
	name      string
	failed    error // the error of all further commands; nil: none
	abandoned bool  // the device is still busy with a command

	// started is the session that the last command started; 0: none. go-tpm
	// does not flush it if the command that it is for is not sent.
	started tpm2.TPMHandle
}

func (p *sender) Send(command []byte) ([]byte, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	if cause := context.Cause(p.ctx); cause != nil && !isFlush(command) {
		if s := p.started; s != 0 {
			_, _ = tpm2.FlushContext{FlushHandle: s}.Execute(p) // the caller reports that the context has ended
		}
		return nil, fmt.Errorf("%s: %w: %w", p.name, signer.WithHint(errNotSent, hintNotSent), cause)
	}
	deadline := time.Now().Add(defaultTimeouts.response)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		response, err := p.exchange(command)
		if err == nil && (len(response) < headerSize || responseSize(response) != len(response)) {
			err = errNotTPM
		}
		if err != nil {
			p.failed = busError(err)
			return nil, p.failed
		}
		p.started = startedBy(command, response)
		switch tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) {
		case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate:
			if time.Now().Before(deadline) && await.Pause(p.ctx, pause) == nil {
				continue
			}
		}
		return response, nil
	}
}

// startedBy returns the session that a command has started, or 0.
func startedBy(command, response []byte) tpm2.TPMHandle {
	if len(response) < headerSize+4 || !isCommand(command, tpm2.TPMCCStartAuthSession) {
		return 0
	}
	return tpm2.TPMHandle(binary.BigEndian.Uint32(response[headerSize:]))
}

// errNotSent means that the context ended before a command.
var errNotSent = errors.New("the command was not sent in time")

const hintNotSent = "allow more time: a TPM can take a second for a signature, and executes one command at a time"

func isFlush(command []byte) bool { return isCommand(command, tpm2.TPMCCFlushContext) }

func isCommand(command []byte, code tpm2.TPMCC) bool {
	return len(command) >= headerSize && tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == code
}

func (p *sender) exchange(command []byte) ([]byte, error) {
	send := func() ([]byte, error) { return p.TPM.Send(command) }
	inTime := true
	var response []byte
	var err error
	if p.ctx.Done() == nil {
		response, err = send()
	} else {
		ctx, cancel := await.WithGrace(p.ctx, cancelGrace)
		defer cancel()
		response, inTime, err = await.InTime(ctx, send, nil)
	}
	if !inTime {
		p.abandoned = true
		err = &noResponseError{p.name, err}
	}
	if !inTime || errors.Is(err, os.ErrDeadlineExceeded) {
		err = signer.WithHint(err, hintMute(p.name))
	}
	return response, err
}

// handles returns the handles in the TPM that have the type of first, beginning
// with first, in ascending order.
func handles(d *device, first tpm2.TPMHandle) (all []tpm2.TPMHandle, _ error) {
	for range maxAnswers {
		answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: 256}.Execute(d)
		if err != nil {
			return nil, explain("TPM2_GetCapability", err)
		}
		list, err := answer.CapabilityData.Data.Handles()
		if err != nil {
			return nil, err
		}
		all = append(all, list.Handle...)
		if !answer.MoreData || len(list.Handle) == 0 {
			return all, nil
		}
		first = all[len(all)-1] + 1
	}
	return all, nil
}

// maxAnswers bounds the answers to one question: some TPMs return few handles at
// once, and a faulty one could go on for ever.
const maxAnswers = 64
