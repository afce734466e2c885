package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

func TestUnknownPaths(t *testing.T) {
	w := newTestEnv(t, Config{})
	for _, tt := range []struct{ method, path string }{
		{"GET", "/sessions"}, {"PUT", "/sessions"}, {"POST", "/sessions/"}, {"POST", "/session"},
		{"DELETE", "/"}, {"PUT", "/trustanchors"}, {"POST", "//sessions"}, {"POST", "/Sessions"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, w.url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if a := readResponse(t, resp); a.status != http.StatusNotFound || a.code != codeUnknown {
			t.Errorf("%s %s is %d %s", tt.method, tt.path, a.status, a.code)
		}
	}
}

func TestServe(t *testing.T) {
	s := newServer(t, Config{TrustAnchors: []TrustAnchor{{Certificates: newRoot(t, caTemplate("Root")).pem()}}, Faults: Faults{Hang: true}})
	ctx, cancel := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()

	resp, err := http.Get("http://" + l.Addr().String() + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("status is %d", resp.StatusCode)
	}

	bodyRead := make(chan struct{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/sessions", &signalReader{started: bodyRead})
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1
	r.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	closed := make(chan error, 1)
	go func() {
		_, err := client.Do(r)
		closed <- err
	}()
	<-bodyRead
	start := time.Now()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if err := <-closed; err == nil {
		t.Error("a hanging request got a response")
	}
	if d := time.Since(start); d >= shutdownGrace {
		t.Errorf("stopping took %v: Serve waited for the hanging request", d)
	}
	if _, err := http.Get("http://" + l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

// A signalReader is a body of one byte. It closes started when it is read.
type signalReader struct {
	started chan struct{}
	done    bool
}

func (s *signalReader) Read(p []byte) (int, error) {
	if s.done {
		return 0, io.EOF
	}
	s.done = true
	close(s.started)
	p[0] = 'x'
	return 1, nil
}

func TestServeListenerError(t *testing.T) {
	s := newServer(t, Config{TrustAnchors: []TrustAnchor{{Certificates: newRoot(t, caTemplate("Root")).pem()}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Serve(t.Context(), l); err == nil {
		t.Error("Serve on a closed listener = nil")
	}
}

func TestConcurrent(t *testing.T) {
	var log bytes.Buffer
	w := newTestEnv(t, Config{Events: &log})
	const workers, each = 8, 50
	requests := make(chan *http.Request, workers*each)
	for range workers * each {
		requests <- w.request(t, call{})
	}
	close(requests)
	keys := make(chan string, workers*each)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for r := range requests {
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				var out createSessionOutput
				err = json.NewDecoder(resp.Body).Decode(&out)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusCreated {
					t.Errorf("status is %d, error %v", resp.StatusCode, err)
					return
				}
				if _, err := GetCallerIdentity(t.Context(), nil, w.url, issuedCredentials(out.CredentialSet[0]), testNow); err != nil {
					t.Error(err)
				}
				keys <- out.CredentialSet[0].Credentials.AccessKeyID
			}
		})
	}
	running.Wait()
	close(keys)
	seen := make(map[string]bool)
	for k := range keys {
		seen[k] = true
	}
	if len(seen) != workers*each {
		t.Errorf("%d different sessions, want %d", len(seen), workers*each)
	}
	if n := bytes.Count(log.Bytes(), []byte("\n")); n != 3*workers*each { // CreateSession, its AssumeRole, and GetCallerIdentity
		t.Errorf("%d events, want %d", n, 3*workers*each)
	}
}
