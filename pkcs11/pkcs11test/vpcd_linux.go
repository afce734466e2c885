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

// A VirtualReader inserts cards into a virtual reader of vpcd (vsmartcard),
// through the TCP port of vpcd. It is safe for concurrent use.
type VirtualReader struct {
	Address string // HOST:PORT

	mu   sync.Mutex
	conn net.Conn
	done chan struct{} // closed when conn is no longer served
}

// vpcdATR requests the answer to reset. A message of one byte is a control
// code; the other codes are for power and reset.
const vpcdATR = 4

// Insert inserts a card into the reader. It returns when it is connected to the
// driver of the reader. The driver may not have detected the card yet.
func (r *VirtualReader) Insert(card *PIVCard) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		return fmt.Errorf("reader %s already has a card", r.Address)
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

// Eject removes the card, even during a command. Without a card it does
// nothing.
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

// serve responds to messages until the connection is closed.
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
		default: // power and reset have no response
			card.Reset()
			continue
		}
		out := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
		if _, err := conn.Write(append(out, answer...)); err != nil {
			return
		}
	}
}

// readMessage reads a length of two bytes and the message. vpcd writes them
// separately, and the kernel delays the second write until the first one is
// acknowledged. This takes 40 ms without TCP_QUICKACK.
func readMessage(conn net.Conn) ([]byte, error) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // on error it is only slower
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
