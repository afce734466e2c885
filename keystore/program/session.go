package program

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// signNow gets the signature of a request. If the program ends before it answers, another
// one gets the request. The caller has the turn.
func (k *Key) signNow(ctx context.Context, r request) (sig []byte, err error) {
	if k.rest.err != nil && time.Now().Before(k.rest.until) {
		return nil, k.rest.err
	}
	var ended *endedError
	for range 2 {
		if sig, err = k.signOnce(ctx, r); !errors.As(err, &ended) {
			k.rest = rest{}
			return sig, err
		}
	}
	k.rest = rest{time.Now().Add(restTime), fmt.Errorf("it was started again without success: %w", err)}
	return nil, k.rest.err
}

func (k *Key) signOnce(ctx context.Context, r request) ([]byte, error) {
	if k.proc != nil && k.proc.hasEnded() {
		k.drop()
	}
	if k.proc == nil {
		if err := k.restart(ctx); err != nil {
			return nil, err
		}
	}
	a, err := k.exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	if a.Signature == "" {
		return nil, broken("its answer has neither a signature nor an error")
	}
	sig, err := base64.StdEncoding.DecodeString(a.Signature)
	if err != nil {
		return nil, broken("the signature is not base64")
	}
	return sig, nil
}

// restart starts the program again and checks that it has the same key.
func (k *Key) restart(ctx context.Context) error {
	o, err := k.start(ctx)
	switch {
	case err != nil:
		return err
	case !signer.SamePublicKey(o.pub, k.pub):
		err = fmt.Errorf("%w: the program was started again, and has another key now", signer.ErrMismatch)
	case o.messages != k.messages:
		err = broken("it was started again, and takes other input now")
	default:
		return nil
	}
	k.drop()
	return signer.WithHint(err, "open the key again: if it was replaced, with its new certificate")
}

// start starts the program and opens the key.
func (k *Key) start(ctx context.Context) (o opened, err error) {
	if k.proc, err = start(k.cfg); err != nil {
		return o, err
	}
	a, err := k.exchange(ctx, request{Request: "open", Version: version, Key: &k.cfg.Key})
	if err == nil {
		o, err = a.opened()
	}
	if err != nil {
		k.drop()
	}
	return o, err
}

// drop ends the program at once.
func (k *Key) drop() {
	if k.proc != nil {
		_ = k.proc.stdin.Close()
		k.proc.kill()
		k.proc = nil
	}
}

// exchange sends a request and returns the answer. It sends the request again with the
// PIN if the program asks for it. It drops a program that breaks the contract.
func (k *Key) exchange(ctx context.Context, r request) (answer, error) {
	a, err := k.send(ctx, r, nil)
	var refused *refusal
	if errors.As(err, &refused) && refused.code == codePINRequired {
		var pin []byte
		if pin, err = k.pin.get(ctx, k.ended, k.cfg, refused); err != nil {
			return answer{}, err
		}
		a, err = k.send(ctx, r, pin)
		if errors.As(err, &refused) && (refused.code == codePINIncorrect || refused.code == codePINRequired) {
			k.pin.refuse()
		}
	}
	if err != nil && !errors.As(err, &refused) {
		k.drop()
	}
	return a, err
}

// send sends one request, and returns the answer or the error in it.
func (k *Key) send(ctx context.Context, r request, pin []byte) (answer, error) {
	k.proc.lastID++
	r.ID, r.PIN = k.proc.lastID, string(pin)
	line, err := r.line()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(k.abandoned, func() { cancel(signer.ErrClosed) })()
	line, err = k.proc.ask(ctx, line)
	if err != nil {
		return answer{}, err
	}
	a, err := parseAnswer(line)
	if err == nil {
		err = a.check(r.ID)
	}
	if err == nil {
		err = a.err()
	}
	return a, err
}

// wrongSignature is the error for a signature that does not verify.
func (k *Key) wrongSignature(sig []byte) error {
	err := fmt.Errorf("%w: its public key does not verify the signature of the program", signer.ErrMismatch)
	if pub, ok := k.pub.(*ecdsa.PublicKey); ok && len(sig) == 2*((pub.Curve.Params().BitSize+7)/8) {
		return signer.WithHint(err, "the signature seems to be r and s one after the other; the program must encode them as ASN.1 DER (RFC 3279, section 2.2.3)")
	}
	return signer.WithHint(err, "check that the program signs with the key whose public key it shows, and signs a digest without hashing it again")
}

// explain adds a command to an error, and to one of a program that ends or breaks the
// contract a hint with that command.
func (c Config) explain(err error) error {
	line, lineErr := request{ID: 1, Request: "open", Version: version, Key: &c.Key}.line()
	if lineErr != nil {
		return err
	}
	command := fmt.Sprintf("echo %s | %s", quote(strings.TrimSpace(string(line))), quote(c.Path))
	var ended *endedError
	if signer.Hint(err) == "" && (errors.Is(err, errProgram) || errors.As(err, &ended)) {
		err = signer.WithHint(err, "see what the program answers: "+command)
	}
	if errors.Is(err, errStart) {
		command = "ls -ldL " + quote(c.Path)
	}
	return &explained{err, command}
}

// An explained error has a command that shows more, for holdfast doctor.
type explained struct {
	error
	command string
}

func (e *explained) Unwrap() error   { return e.error }
func (e *explained) Command() string { return e.command }

// quote quotes a word for a shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
