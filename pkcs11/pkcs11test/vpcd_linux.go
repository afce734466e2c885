package pkcs11test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// A VirtualReader is the card's side of a reader of vsmartcard's vpcd, at its
// TCP port. It is safe for concurrent use.
type VirtualReader struct {
	Address string // HOST:PORT

	mu   sync.Mutex
	conn net.Conn
	done chan struct{} // closed when the card of conn is out
}

// vpcdATR asks for the answer to reset. A message of one byte is such a code;
// the others are for power and reset.
const vpcdATR = 4

// Insert puts a card into the reader. It returns when the reader's driver has
// been connected to, before anybody has noticed the card.
func (r *VirtualReader) Insert(card *PIVCard) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		return fmt.Errorf("reader %s has a card", r.Address)
	}
	conn, err := net.DialTimeout("tcp", r.Address, 10*time.Second)
	if err != nil {
		return err
	}
	card.Reset()
	done := make(chan struct{})
	r.conn, r.done = conn, done
	go func() {
		defer close(done)
		serve(conn, card)
	}()
	return nil
}

// Eject takes the card out, in the middle of a command if need be. Without a
// card it does nothing.
func (r *VirtualReader) Eject() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		return
	}
	_ = r.conn.Close()
	<-r.done
	r.conn, r.done = nil, nil
}

// serve answers until the connection ends.
func serve(conn net.Conn, card *PIVCard) {
	for {
		message, err := readMessage(conn)
		if err != nil {
			return
		}
		var answer []byte
		switch {
		case len(message) != 1:
			answer = card.Transmit(message)
		case message[0] == vpcdATR:
			answer = card.ATR()
		default: // power and reset have no answer
			card.Reset()
			continue
		}
		out := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
		if _, err := conn.Write(append(out, answer...)); err != nil {
			return
		}
	}
}

// readMessage reads a length of two bytes and what follows. vpcd writes them
// one after the other, and the kernel holds the second back until the first is
// acknowledged, which takes 40 ms unless asked for at once.
func readMessage(conn net.Conn) ([]byte, error) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // slower without
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
			})
		}
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, message)
	return message, err
}
