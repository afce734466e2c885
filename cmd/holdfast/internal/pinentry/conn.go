package pinentry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxLine   = 4 << 10 // bytes; Assuan lines have at most 1000
	maxLines  = 1 << 10 // of one answer
	maxAnswer = 4 << 10 // bytes of an input
)

// A conn is a connection to a pinentry program. Its buffer holds secrets.
type conn struct {
	in  io.Writer
	out io.Reader
	buf [maxLine]byte
	n   int // bytes in buf

	current [maxLine]byte // the line that was returned last
}

func (c *conn) clear() {
	clear(c.buf[:])
	clear(c.current[:])
}

// A refusal is an ERR answer: a code of libgpg-error and a description.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("pinentry: %s (error %d)", r.text, r.code) }

// meaning returns the error for a refused dialog. The lower 16 bits of a code are
// the error, the others its source (libgpg-error, err-codes.h).
func (r *refusal) meaning() error {
	const timeout, canceled, notConfirmed, fullyCanceled = 62, 99, 114, 198
	const notTerminal = 1<<15 | 102 // ENOTTY
	switch r.code & 0xffff {
	case timeout:
		return ErrTimedOut
	case canceled, notConfirmed, fullyCanceled:
		return ErrCanceled
	case notTerminal:
		return fmt.Errorf("%w: %s", ErrNoTerminal, r.text)
	}
	return fmt.Errorf("%w: %s (error %d)", ErrRefused, r.text, r.code)
}

// call sends a command and returns the data of its answer.
func (c *conn) call(command string) ([]byte, error) {
	if _, err := io.WriteString(c.in, command+"\n"); err != nil {
		return nil, fmt.Errorf("%w: it ended", ErrProtocol)
	}
	return c.answer()
}

// answer reads lines up to OK or ERR.
func (c *conn) answer() (data []byte, err error) {
	fail := func(format string, args ...any) ([]byte, error) {
		clear(data)
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
	}
	for range maxLines {
		line, err := c.line()
		if errors.Is(err, io.EOF) {
			return fail("it ended without an answer")
		}
		if err != nil {
			return fail("%w", err)
		}
		keyword, rest, _ := bytes.Cut(line, []byte(" "))
		switch string(keyword) {
		case "OK":
			return data, nil
		case "ERR":
			clear(data)
			code, text, _ := strings.Cut(string(rest), " ")
			n, err := strconv.Atoi(code)
			if err != nil {
				return fail("an error without a number")
			}
			return nil, &refusal{n, text}
		case "D":
			if len(data)+len(rest) > maxAnswer {
				return fail("the input is too long")
			}
			grown := make([]byte, len(data), maxAnswer) // keeps no copies
			copy(grown, data)
			clear(data)
			data = appendDecoded(grown, rest)
		case "S", "#", "":
		case "INQUIRE":
			if _, err := io.WriteString(c.in, "CAN\n"); err != nil {
				return fail("it ended")
			}
		default:
			if !bytes.HasPrefix(line, []byte("#")) {
				return fail("an unknown answer") // not quoted: it may be the input
			}
		}
	}
	return fail("too many lines")
}

// line returns the next line, which is valid until the next call.
func (c *conn) line() ([]byte, error) {
	for start := 0; ; {
		if end := bytes.IndexByte(c.buf[start:c.n], '\n'); end >= 0 {
			end += start
			line := c.current[:copy(c.current[:], bytes.TrimSuffix(c.buf[:end], []byte("\r")))]
			rest := copy(c.buf[:], c.buf[end+1:c.n])
			clear(c.buf[rest:c.n])
			c.n = rest
			return line, nil
		}
		if start = c.n; start == len(c.buf) {
			return nil, errors.New("a line is too long")
		}
		n, err := c.out.Read(c.buf[c.n:])
		c.n += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// appendDecoded appends the decoded data of a D line.
func appendDecoded(to, data []byte) []byte {
	for i := 0; i < len(data); i++ {
		if data[i] == '%' && i+2 < len(data) {
			if v, err := strconv.ParseUint(string(data[i+1:i+3]), 16, 8); err == nil {
				to = append(to, byte(v))
				i += 2
				continue
			}
		}
		to = append(to, data[i])
	}
	return to
}
