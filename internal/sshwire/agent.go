package sshwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxMessage is the largest size of a message in bytes, with the byte of its type and
// without the length before it. OpenSSH has the same limit (AGENT_MAX_LEN).
const MaxMessage = 256 << 10

// MaxIdentities is how many keys an answer may list, as in OpenSSH
// (MAX_AGENT_IDENTITIES).
const MaxIdentities = 2048

// A Message is the type of a message of the agent protocol
// (draft-ietf-sshm-ssh-agent, section 6.1).
type Message byte

// The types of messages.
const (
	Failure                    Message = 5
	Success                    Message = 6
	RequestIdentities          Message = 11
	IdentitiesAnswer           Message = 12
	SignRequest                Message = 13
	SignResponse               Message = 14
	AddIdentity                Message = 17
	RemoveIdentity             Message = 18
	RemoveAllIdentities        Message = 19
	AddSmartcardKey            Message = 20
	RemoveSmartcardKey         Message = 21
	Lock                       Message = 22
	Unlock                     Message = 23
	AddIdentityConstrained     Message = 25
	AddSmartcardKeyConstrained Message = 26
	Extension                  Message = 27
	ExtensionFailure           Message = 28
	ExtensionResponse          Message = 29
)

// Constraints of the key in an AddIdentityConstrained message.
const (
	ConstrainLifetime  byte = 1
	ConstrainConfirm   byte = 2
	ConstrainExtension byte = 255
)

// Flags of a SignRequest with an RSA key. Without one, an agent signs with SHA-1.
const (
	FlagRSASHA256 uint32 = 2
	FlagRSASHA512 uint32 = 4
)

// ReadMessage reads one message. It reads no more than that from r. The error is
// [io.EOF] only if r ends before the message.
func ReadMessage(r io.Reader) (kind Message, contents []byte, err error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[:])
	switch {
	case n == 0:
		return 0, nil, errors.New("message is empty")
	case n > MaxMessage:
		return 0, nil, fmt.Errorf("message has %d bytes; at most %d are allowed", n, MaxMessage)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return Message(message[0]), message[1:], nil
}

// WriteMessage writes one message, in one call of Write.
func WriteMessage(w io.Writer, kind Message, contents []byte) error {
	if len(contents) >= MaxMessage {
		return fmt.Errorf("message has %d bytes; at most %d are allowed", len(contents)+1, MaxMessage)
	}
	var b Builder
	b.Uint32(uint32(len(contents) + 1))
	b.Byte(byte(kind))
	b.Raw(contents)
	_, err := w.Write(b.data)
	return err
}

// An Identity is a key that an agent lists.
type Identity struct {
	Blob    []byte // of the public key or of the certificate
	Comment string // any bytes; escape them before they are shown
}

// MarshalIdentities returns the contents of an IdentitiesAnswer.
func MarshalIdentities(ids []Identity) []byte {
	var b Builder
	b.Uint32(uint32(len(ids)))
	for _, id := range ids {
		b.Bytes(id.Blob)
		b.Text(id.Comment)
	}
	return b.data
}

// ParseIdentities decodes the contents of an IdentitiesAnswer. It does not decode the
// blobs, which may be of unknown types, and which are parts of contents.
func ParseIdentities(contents []byte) ([]Identity, error) {
	r := NewReader(contents)
	n := r.Uint32()
	if n > MaxIdentities {
		return nil, fmt.Errorf("list has %d keys; at most %d are allowed", n, MaxIdentities)
	}
	var ids []Identity
	for range n {
		if r.err != nil {
			break
		}
		ids = append(ids, Identity{Blob: r.Bytes(), Comment: r.Text()})
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("list of keys: %w", err)
	}
	return ids, nil
}

// A Signing is the contents of a SignRequest.
type Signing struct {
	Blob    []byte // of the public key or of the certificate
	Message []byte
	Flags   uint32
}

// Marshal returns the contents of the message.
func (s Signing) Marshal() []byte {
	var b Builder
	b.Bytes(s.Blob)
	b.Bytes(s.Message)
	b.Uint32(s.Flags)
	return b.data
}

// ParseSigning decodes the contents of a SignRequest. The slices are parts of contents.
func ParseSigning(contents []byte) (Signing, error) {
	r := NewReader(contents)
	s := Signing{Blob: r.Bytes(), Message: r.Bytes(), Flags: r.Uint32()}
	if err := r.End(); err != nil {
		return Signing{}, fmt.Errorf("request to sign: %w", err)
	}
	return s, nil
}
