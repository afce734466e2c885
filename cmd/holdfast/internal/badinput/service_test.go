//go:build linux

package badinput

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// attempts is how often a request is sent whose failure may pass by itself.
const attempts = 4

// networkCases are what can go wrong before there is an answer.
func networkCases(p *pki) (all []badInput) {
	trusting := []string{"--ca-bundle", "ca.pem"}
	ca := write("ca.pem", p.caPEM)
	plain := func(s *scene) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{s.tls}} }
	with := func(mutate func(*x509.Certificate)) func(*scene) *tls.Config {
		return func(s *scene) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{s.tlsCertificate(s, mutate)}}
		}
	}
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	proxy := []string{"--endpoint", "https://holdfast.invalid"}
	all = []badInput{
		{name: "connection refused", serve: refusing, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "host does not exist", args: []string{"--endpoint", "https://holdfast.invalid"}, culprit: "holdfast.invalid", hint: "endpoint"},
		{name: "never answers", serve: answer(hang), sent: 1, culprit: "127.0.0.1:", hint: "--timeout"},
		{name: "never answers within a short --timeout", serve: answer(hang), args: []string{"--timeout", "3s"}, sent: 1, culprit: "127.0.0.1:", hint: "--timeout"},
		{name: "headers and then nothing", serve: answer(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}), args: []string{"--timeout", "3s"}, sent: 1, culprit: "127.0.0.1:", hint: "--timeout"},
		{name: "half a header and then nothing", serve: converse(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1)) // the client retries if a response precedes the request
			fmt.Fprint(c, "HTTP/1.1 201 Created\r\nContent-")
			_, _ = io.Copy(io.Discard, c)
		}), args: []string{"--timeout", "3s"}, sent: 1, culprit: "127.0.0.1:", hint: "--timeout"},
		{name: "closes at once", serve: converse(func(net.Conn) {}), sent: attempts, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "closes in the body", serve: answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2000")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"credentialSet":[`)
		}), sent: attempts, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "not HTTP", serve: converse(func(c net.Conn) {
			readRequest(c)
			fmt.Fprint(c, "SSH-2.0-\x1b[2JOpenSSH_9.2\r\n")
		}), sent: attempts, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "zeros instead of HTTP", serve: converse(func(c net.Conn) {
			readRequest(c)
			_, _ = io.CopyN(c, zeros{}, 1<<30)
		}), sent: attempts, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "endless header", serve: converse(func(c net.Conn) {
			readRequest(c)
			fmt.Fprint(c, "HTTP/1.1 201 Created\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-Header-%d: x\r\n", i); err != nil {
					return
				}
			}
		}), sent: attempts, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "TLS of an unknown CA", serve: answerTLS(plain, http.NotFound), culprit: "127.0.0.1:", hint: "--ca-bundle"},
		{name: "TLS of another CA than the bundle's", serve: answerTLS(plain, http.NotFound), args: []string{"--ca-bundle", "cert.pem"}, culprit: "127.0.0.1:", hint: "--ca-bundle"},
		{name: "TLS certificate expired", args: trusting, setup: ca, serve: answerTLS(with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), http.NotFound),
			culprit: "127.0.0.1:", hint: "clock"},
		{name: "TLS certificate of another host", args: trusting, setup: ca, serve: answerTLS(with(func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"other.example"}
		}), http.NotFound), culprit: "127.0.0.1:", hint: "another host"},
		{name: "TLS certificate without a name", args: trusting, setup: ca, serve: answerTLS(with(func(c *x509.Certificate) { c.IPAddresses = nil }), http.NotFound),
			culprit: "127.0.0.1:", hint: "another host"},
		{name: "TLS 1.1", args: trusting, setup: ca, serve: answerTLS(func(s *scene) *tls.Config {
			c := plain(s)
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			return c
		}, http.NotFound), culprit: "127.0.0.1:", hint: "TLS 1.2"},
		{name: "https to a server without TLS", serve: silent, args: []string{"--endpoint", "https://{addr}"}, culprit: "127.0.0.1:", hint: "TLS"},
		{name: "http to a server with TLS", serve: answerTLS(plain, http.NotFound), args: []string{"--endpoint", "http://{addr}"}, culprit: "127.0.0.1:", hint: "endpoint"},
		{name: "TLS never ends its handshake", serve: converse(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
			args: []string{"--endpoint", "https://{addr}", "--timeout", "2s"}, sent: 1, culprit: "127.0.0.1:", hint: "--timeout"},
		{name: "proxy refuses connections", args: proxy, env: []string{"HTTPS_PROXY=http://user:" + testPassword + "@127.0.0.1:1"}, culprit: "proxy", hint: "HTTPS_PROXY"},
		{name: "proxy wants a password", args: proxy, serve: answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }),
			env: []string{"HTTPS_PROXY={url}"}, sent: 1, culprit: "holdfast.invalid", hint: "HTTPS_PROXY"},
		{name: "proxy forbids", args: proxy, serve: answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }),
			env: []string{"HTTPS_PROXY={url}"}, sent: 1, culprit: "holdfast.invalid", hint: "HTTPS_PROXY"},
		{name: "proxy is no URL", args: proxy, env: []string{"HTTPS_PROXY=http://user:" + testPassword + "@[::1"}, culprit: "proxy", hint: "HTTPS_PROXY"},
		{name: "proxy of an unknown kind", args: proxy, env: []string{"HTTPS_PROXY=gopher://127.0.0.1"}, culprit: "proxy", hint: "HTTPS_PROXY"},
	}
	for i := range all {
		all[i].code = front.ExitUnreachable
	}
	return all
}

func readRequest(c net.Conn) {
	if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

const testCredentials = `{"credentialSet":[{"credentials":{"accessKeyId":"ASIAEXAMPLE","secretAccessKey":"` + testPassword + `","sessionToken":"` + testPassword + `","expiration":%q}}]}`

// answerCases are answers with a good status that are not those of the service.
func answerCases(*pki) (all []badInput) {
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"empty", "", 201},
		{"a web page", "<html><body>Please log in</body></html>", 200},
		{"an empty object", "{}", 201},
		{"a list", "[]", 201},
		{"null", "null", 201},
		{"cut JSON", fmt.Sprintf(testCredentials, "2999-01-01T00:00:00Z")[:150], 201},
		{"two documents", fmt.Sprintf(testCredentials, "2999-01-01T00:00:00Z") + "{}", 201},
		{"JSON of other types", `{"credentialSet":"` + testPassword + `"}`, 201},
		{"JSON nested deeply", strings.Repeat(`{"credentialSet":[`, 50_000), 201},
		{"credentials that are null", `{"credentialSet":[{"credentials":null}]}`, 201},
		{"a set that is null", `{"credentialSet":[null]}`, 201},
		{"no set", `{"credentialSet":[]}`, 201},
		{"two sets", `{"credentialSet":[{},{}]}`, 201},
		{"no secret", `{"credentialSet":[{"credentials":{"accessKeyId":"ASIAEXAMPLE","sessionToken":"x","expiration":"2999-01-01T00:00:00Z"}}]}`, 201},
		{"no token", `{"credentialSet":[{"credentials":{"accessKeyId":"ASIAEXAMPLE","secretAccessKey":"x","expiration":"2999-01-01T00:00:00Z"}}]}`, 201},
		{"no expiration", `{"credentialSet":[{"credentials":{"accessKeyId":"ASIAEXAMPLE","secretAccessKey":"x","sessionToken":"x"}}]}`, 201},
		{"a bad expiration", fmt.Sprintf(testCredentials, "tomorrow"), 201},
		{"a past expiration", fmt.Sprintf(testCredentials, "2001-01-01T00:00:00Z"), 201},
		{"status 202", fmt.Sprintf(testCredentials, "2999-01-01T00:00:00Z"), 202},
		{"status 204", "", 204},
		{"status 299", "{}", 299},
	} {
		all = append(all, badInput{name: "answer is " + c.name, sent: 1, serve: answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}), hint: "endpoint"})
	}
	for _, status := range []int{301, 302, 307, 308, 304} {
		all = append(all, badInput{name: fmt.Sprintf("redirect %d", status), sent: 1, serve: answer(func(w http.ResponseWriter, r *http.Request) {
			// The same server counts what comes to another name of it.
			w.Header().Set("Location", "http://localhost:"+r.Host[strings.LastIndex(r.Host, ":")+1:]+"/sessions?x=\u009b2J\u202e")
			w.WriteHeader(status)
		}), hint: "endpoint"})
	}
	all = append(all,
		badInput{name: "answer of 512 MiB", sent: 1, hint: "endpoint", serve: answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.CopyN(w, zeros{}, 512<<20)
		})},
		badInput{name: "error of 512 MiB", sent: 1, hint: "endpoint", serve: answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.CopyN(w, zeros{}, 512<<20)
		})},
		badInput{name: "answer is a compressed bomb", sent: 1, hint: "endpoint", serve: answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			var bomb bytes.Buffer
			z := gzip.NewWriter(&bomb)
			_, _ = io.CopyN(z, zeros{}, 8<<20)
			_ = z.Close()
			_, _ = w.Write(bomb.Bytes())
		})},
	)
	for i := range all {
		all[i].code, all[i].culprit = front.ExitUnreachable, "127.0.0.1:"
	}
	return all
}

func created(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, testCredentials, "2999-01-01T00:00:00Z")
}
