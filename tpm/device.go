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

const (
	// patience is how long a TPM that is busy is waited for, and how long
	// its answer to a command.
	patience = 15 * time.Second
	// creationPatience is for commands that make an RSA key: a discrete TPM
	// can take a minute.
	creationPatience = 3 * time.Minute
)

// rsaArea is how the public area of every RSA key begins that is made here. By
// chance it may stand in other commands, which then have more time.
var rsaArea = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgRSA)), uint16(tpm2.TPMAlgSHA256))

func patienceFor(command []byte) time.Duration {
	if len(command) >= 10 {
		switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) {
		case tpm2.TPMCCCreate, tpm2.TPMCCCreatePrimary:
			if bytes.Contains(command, rsaArea) {
				return creationPatience
			}
		}
	}
	return patience
}

// errBusy is for a TPM that somebody else has.
var errBusy = errors.New("is in use by another program")

// awaitDevice calls open until it does not say that the device is busy.
func awaitDevice(ctx context.Context, open func() (*device, error)) (*device, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pause := time.Millisecond
	for {
		d, err := open()
		if !errors.Is(err, errBusy) {
			return d, err
		}
		if err := wait(ctx, pause/2+rand.N(pause)); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("waited %v: %w", patience, signer.ErrUnavailable)
			}
			return nil, signer.WithHint(fmt.Errorf("%w: %w", errBusy, err), "/dev/tpmrm0 has a resource manager, which lets programs share the TPM")
		}
		pause = min(2*pause, 8*time.Millisecond)
	}
}

// wait returns when d is over, or the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxResponse bounds what a TPM answers, in bytes; TPM_PT_MAX_RESPONSE_SIZE is
// 4096 everywhere.
const maxResponse = 4096

// responseSize returns the size that the header of a response tells (TPM 2.0
// Library, part 1, section 18.1: tag, size, response code), -1 if it cannot be
// a TPM's.
func responseSize(header []byte) int {
	tag := tpm2.TPMST(binary.BigEndian.Uint16(header))
	size := binary.BigEndian.Uint32(header[2:])
	if tag != tpm2.TPMSTNoSessions && tag != tpm2.TPMSTSessions && tag != tpm2.TPMSTRspCommand || size < 10 || size > maxResponse {
		return -1
	}
	return int(size)
}

var errNotTPM = fmt.Errorf("does not answer as a TPM 2.0 does: %w", signer.ErrUnavailable)

// patient sends a command again that the TPM could not begin yet (part 2,
// section 6.6.3, warnings), such as during its self-test.
type patient struct{ transport.TPM }

func (p patient) Send(command []byte) ([]byte, error) {
	deadline := time.Now().Add(patience)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		response, err := p.TPM.Send(command)
		if err != nil || len(response) < 10 || time.Now().After(deadline) {
			return response, err
		}
		switch tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) {
		case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate:
			time.Sleep(pause)
		default:
			return response, nil
		}
	}
}
