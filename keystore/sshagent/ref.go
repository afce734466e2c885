package sshagent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// socketVariable is the environment variable with the socket of the agent.
const socketVariable = "SSH_AUTH_SOCK"

// A query is a parsed reference: what it says about the key and the agent.
type query struct {
	socket      string               // "": the reference names none
	fingerprint *sshwire.Fingerprint // nil: of any key
	comment     string               // "": any
	public      string               // the file that fingerprint is from; "": none
}

// isOpen reports whether every key matches.
func (q query) isOpen() bool { return q.fingerprint == nil && q.comment == "" }

// prepare parses a reference and finds the socket of the agent.
func prepare(ctx context.Context, ref keystore.Ref, call keystore.Call) (query, agent, error) {
	q, err := parse(ref)
	if err == nil && q.public != "" {
		err = q.readPublic(ctx, call)
	}
	if err != nil {
		return query{}, agent{}, err
	}
	socket := q.socket
	if socket == "" && call.LookupEnv != nil {
		socket, _ = call.LookupEnv(socketVariable)
	}
	if socket == "" {
		socket = defaultSocket
	}
	if socket == "" {
		return query{}, agent{}, signer.WithHint(fmt.Errorf("%w: the variable %s, which names the socket of the ssh-agent, is not set", signer.ErrUnavailable, socketVariable),
			`start an agent with eval "$(ssh-agent)", or name its socket, as in sshagent:socket=/run/user/1000/ssh-agent.socket`)
	}
	return q, agent{socket}, nil
}

// parse parses a reference. It reads no file.
func parse(ref keystore.Ref) (q query, err error) {
	if ref.Rest == "" {
		return query{}, nil
	}
	refuse := func(err error) (query, error) { return query{}, &keystore.RefError{Ref: ref.String(), Err: err} }
	a, err := keystore.ParseAttributes(ref.Rest, "sha256", "comment", "public", "socket")
	if err != nil {
		if !strings.ContainsAny(ref.Rest, "=;") && strings.Contains(ref.Rest, "/") {
			err = signer.WithHint(err, "for the socket of an agent, write sshagent:socket="+ref.Rest)
		}
		return refuse(err)
	}
	q = query{socket: a["socket"], comment: a["comment"], public: a["public"]}
	if text := a["sha256"]; text != "" {
		if q.public != "" {
			return refuse(errors.New("contains both sha256 and public"))
		}
		f, err := sshwire.ParseFingerprint(text)
		if err != nil {
			return refuse(signer.WithHint(fmt.Errorf("attribute \"sha256\" is %w", err), "this shows the fingerprints of the keys: ssh-add -l"))
		}
		q.fingerprint = &f
	}
	return q, nil
}

// readPublic sets the fingerprint to that of the key in the file public.
func (q *query) readPublic(ctx context.Context, call keystore.Call) error {
	data, err := call.Read(ctx, keystore.Ref{Scheme: keystore.SchemeFile, Rest: q.public})
	if err != nil {
		return fmt.Errorf("%s: %w", q.public, err)
	}
	blob, _, err := sshwire.ParsePublicKeyText(data)
	if err != nil {
		return signer.WithHint(fmt.Errorf("%s: %w", q.public, err), "this prints the keys of the agent as such lines: ssh-add -L")
	}
	k := newListed(sshwire.Identity{Blob: blob})
	q.fingerprint = &k.fingerprint
	return nil
}

// reference returns the reference to a key. socket may be "".
func reference(f sshwire.Fingerprint, socket string) keystore.Ref {
	rest := keystore.FormatAttribute("sha256", strings.TrimPrefix(f.String(), "SHA256:"))
	if socket != "" {
		rest += ";" + keystore.FormatAttribute("socket", socket)
	}
	return keystore.Ref{Scheme: scheme, Rest: rest}
}

// String describes the keys for which the reference looks, for errors.
func (q query) String() string {
	var parts []string
	if q.fingerprint != nil {
		parts = append(parts, "fingerprint "+q.fingerprint.String())
	}
	if q.public != "" {
		parts[0] += fmt.Sprintf(", which is that of %q", q.public)
	}
	if q.comment != "" {
		parts = append(parts, fmt.Sprintf("comment %q", q.comment))
	}
	return strings.Join(parts, " and ")
}
