package tpm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// A device is an open TPM.
type device struct {
	transport.TPM
	close func() error

	// managed says that a resource manager gives this connection a TPM of
	// its own. Another has the TPM for itself while it is open, so that
	// nobody comes between its commands, and whoever else wants it waits.
	managed bool
}

// open opens a TPM for a conversation. All of its errors and answers pass
// through patient.
func (dial dialer) open(ctx context.Context, path string) (*device, error) {
	d, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	d.TPM = &retrier{TPM: d.TPM}
	return d, nil
}

// A patience is how long a TPM is waited for.
type timeouts struct {
	busy     time.Duration // one that somebody else has
	response time.Duration // to a command
	// creation is for the answer to commands that make an RSA key: a discrete
	// TPM can take a minute.
	rsaCreation time.Duration
}

// usual is the patience of all but tests.
var defaultTimeouts = timeouts{busy: 15 * time.Second, response: 15 * time.Second, rsaCreation: 3 * time.Minute}

// rsaArea is how the public area of every RSA key begins that is made here. By
// chance it may stand in other commands, which then have more time.
var rsaAreaPrefix = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgRSA)), uint16(tpm2.TPMAlgSHA256))

func (p timeouts) forCommand(command []byte) time.Duration {
	if len(command) >= 10 {
		switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) {
		case tpm2.TPMCCCreate, tpm2.TPMCCCreatePrimary:
			if bytes.Contains(command, rsaAreaPrefix) {
				return p.rsaCreation
			}
		}
	}
	return p.response
}

// grace is how long an answer is waited for that nobody wants any more. A
// command that was begun leaves less behind if it ends.
const cancelGrace = time.Second

// errBusy is for a TPM that somebody else has.
var errBusy = errors.New("is in use by another program")

// await calls open until it does not say that the device is busy.
func (p timeouts) retryWhileBusy(ctx context.Context, open func() (*device, error)) (*device, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, p.busy)
	defer cancel()
	pause := time.Millisecond
	for {
		d, err := open()
		if !errors.Is(err, errBusy) {
			return d, err
		}
		if err := await.Pause(ctx, pause/2+rand.N(pause)); err != nil {
			if caller.Err() == nil {
				err = fmt.Errorf("waited %v: %w", p.busy, signer.ErrUnavailable)
			}
			return nil, signer.WithHint(fmt.Errorf("%w: %w", errBusy, err), "/dev/tpmrm0 has a resource manager, which lets programs share the TPM")
		}
		pause = min(2*pause, 8*time.Millisecond)
	}
}

// maxResponse bounds what a TPM answers, in bytes; TPM_PT_MAX_RESPONSE_SIZE is
// 4096 everywhere.
const maxResponse = 4096

// headerSize is that of a response's tag, size and response code (TPM 2.0
// Library, part 1, section 18.1), in bytes.
const headerSize = 10

// responseSize returns the size that the header of a response tells, -1 if it
// cannot be a TPM's.
func responseSize(header []byte) int {
	tag := tpm2.TPMST(binary.BigEndian.Uint16(header))
	size := binary.BigEndian.Uint32(header[2:])
	if tag != tpm2.TPMSTNoSessions && tag != tpm2.TPMSTSessions && tag != tpm2.TPMSTRspCommand || size < headerSize || size > maxResponse {
		return -1
	}
	return int(size)
}

var errNotTPM = errors.New("what answers is no TPM 2.0")

// patient sends a command again that the TPM could not begin yet (part 2,
// section 6.6.3, warnings), such as during its self-test. After an error, or
// what is no response, nothing more is sent: an answer that comes late would be
// taken for that of another command.
type retrier struct {
	transport.TPM
	failed error
}

func (p *retrier) Send(command []byte) ([]byte, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	deadline := time.Now().Add(defaultTimeouts.response)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		response, err := p.TPM.Send(command)
		if err == nil && (len(response) < headerSize || responseSize(response) != len(response)) {
			err = errNotTPM
		}
		if err != nil {
			p.failed = busError(err)
			return nil, p.failed
		}
		switch tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) {
		case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate:
			if time.Now().Before(deadline) {
				time.Sleep(pause)
				continue
			}
		}
		return response, nil
	}
}
