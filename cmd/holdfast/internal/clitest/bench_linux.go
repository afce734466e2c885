package clitest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Wire is a client's connection to a server of HTTP, with as little around it as can
// be, since it shares the machine with the server that a benchmark measures. It is not
// safe for concurrent use.
type Wire struct {
	net.Conn
	r *bufio.Reader
}

// DialWire connects to the host and port of a URL without a path.
func DialWire(url string) (*Wire, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	return &Wire{conn, bufio.NewReader(conn)}, nil
}

// Ask sends a whole request and reads the response, which must have a Content-Length.
func (w *Wire) Ask(request string) (status int, body []byte, err error) {
	if _, err := io.WriteString(w, request); err != nil {
		return 0, nil, err
	}
	length := -1
	for first := true; ; first = false {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first && len(line) > 12:
			status, _ = strconv.Atoi(string(line[9:12]))
		case len(line) == 0:
			body = make([]byte, max(length, 0))
			_, err := io.ReadFull(w.r, body)
			return status, body, err
		case len(line) > 16 && strings.EqualFold(string(line[:15]), "Content-Length:"):
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[15:])))
		}
	}
}

// CPUTime returns the processor time that a process has used, in steps of 10 ms.
func CPUTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	// proc_pid_stat(5): utime and stime are fields 14 and 15, in ticks of
	// 10 ms; the name before them ends with a parenthesis.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Build builds the program of a package or a file as it is released, without the race
// detector.
func Build(tb testing.TB, dir, name, pkg string) string {
	tb.Helper()
	out := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-trimpath", "-tags", "netgo,osusergo", "-ldflags=-s", "-o", out, pkg)
	build.Dir, build.Env = packageFolder, append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, msg)
	}
	return out
}

// staticServer is the program of StartStatic. Its arguments are paths and files.
const staticServer = `package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
)

func main() {
	answers := map[string][]byte{}
	for i := 1; i < len(os.Args); i += 2 {
		body, err := os.ReadFile(os.Args[i+1])
		if err != nil {
			panic(err)
		}
		answers[os.Args[i]] = body
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("# listening on http://%s\nAWS_CONTAINER_CREDENTIALS_FULL_URI\n", l.Addr())
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := answers[r.URL.Path]
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	})))
}
`

// StartStatic runs a server that answers what it was given at the start, by path: the
// floor for a server on net/http.
func StartStatic(tb testing.TB, dir string, answers map[string]string) *Served {
	tb.Helper()
	var args []string
	for path, body := range answers {
		file := filepath.Join(dir, "answer"+strconv.Itoa(len(args)))
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			tb.Fatal(err)
		}
		args = append(args, path, file)
	}
	source := filepath.Join(dir, "static.go")
	if err := os.WriteFile(source, []byte(staticServer), 0o600); err != nil {
		tb.Fatal(err)
	}
	return StartProgram(tb, Build(tb, dir, "static", source), dir, nil, args...)
}
