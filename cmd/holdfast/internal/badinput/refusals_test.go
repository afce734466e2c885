//go:build linux

package badinput

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// A refused answer is one in the form of restJson1.
type refused struct {
	status        int
	code, message string
	header        map[string]string
	clock         time.Duration // off by so much
}

func (a refused) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Amzn-Errortype", a.code)
	h.Set("X-Amzn-Requestid", "req-1")
	h.Set("Date", time.Now().Add(a.clock).UTC().Format(http.TimeFormat))
	for name, value := range a.header {
		h.Set(name, value)
	}
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": a.message})
}

// refusalCases are the errors of the service, and of what may stand before it.
func refusalCases(*pki) (all []badInput) {
	const denied = "AccessDeniedException"
	assume := "Unable to assume role for " + roleARN
	for _, c := range []struct {
		name string
		refused
		hint string
		sent int
	}{
		{"certificate insufficient", refused{status: 403, code: denied, message: "Untrusted certificate. Insufficient certificate"}, "digitalSignature", 1},
		{"certificate untrusted", refused{status: 403, code: denied, message: "Untrusted signing certificate"}, "--intermediates", 1},
		{"certificate revoked", refused{status: 403, code: denied, message: "Untrusted certificate. It was revoked"}, "revoked", 1},
		{"signature invalid", refused{status: 403, code: denied, message: "Invalid signature"}, "clock", 1},
		{"role not assumed", refused{status: 403, code: denied, message: assume}, "sts:SetSourceIdentity", 1},
		{"session too long", refused{status: 403, code: denied, message: assume + ". The requested DurationSeconds exceeds the MaxSessionDuration set for this role."}, "--session-duration", 1},
		{"tags not mapped", refused{status: 403, code: denied, message: assume + ". Some attributes failed to be mapped into session tags. Issuer: []; Subject: []; SAN: [ DNS/2 ]"}, "attribute mappings", 1},
		{"session name not accepted", refused{status: 403, code: denied, message: "Not authorized to set roleSessionName."}, "--role-session-name", 1},
		{"unknown reason", refused{status: 403, code: denied, message: "No."}, "CloudTrail", 1},
		{"no message", refused{status: 403, code: denied}, "CloudTrail", 1},
		{"code with a URI", refused{status: 404, code: "ResourceNotFoundException:http://internal.amazon.com/coral/", message: "Trust anchor not found"}, "ARNs", 1},
		{"not found", refused{status: 404, code: "ResourceNotFoundException", message: "Trust anchor not found"}, "ARNs", 1},
		{"validation", refused{status: 400, code: "ValidationException", message: "Value at 'durationSeconds' failed to satisfy constraint"}, "--session-duration", 1},
		{"unauthorized", refused{status: 401, code: "UnrecognizedClientException", message: "The security token is invalid"}, "CloudTrail", 1},
		{"throttled", refused{status: 429, code: "ThrottlingException", message: "Rate exceeded"}, "quota", attempts},
		{"throttled with status 400", refused{status: 400, code: "ThrottlingException", message: "Rate exceeded"}, "quota", attempts},
		{"internal error", refused{status: 500, code: "InternalServerException", message: "Sorry"}, "later", attempts},
		{"unavailable", refused{status: 503, code: "ServiceUnavailableException", message: "Sorry"}, "later", attempts},
		{"unavailable for an hour", refused{status: 503, code: "ServiceUnavailableException", message: "Sorry", header: map[string]string{"Retry-After": "3600"}}, "later", 1},
		{"unavailable for ages", refused{status: 503, code: "ServiceUnavailableException", message: "Sorry", header: map[string]string{"Retry-After": "9223372036854775807"}}, "later", 1},
		{"unavailable since yesterday", refused{status: 503, code: "ServiceUnavailableException", message: "Sorry", header: map[string]string{"Retry-After": "-1"}}, "later", attempts},
		{"clock an hour slow", refused{status: 403, code: denied, message: "Invalid signature", clock: time.Hour}, "clock is off by", 2},
		{"clock a day fast", refused{status: 403, code: denied, message: "Invalid signature", clock: -24 * time.Hour}, "clock is off by", 2},
		{"clock of a century ago", refused{status: 403, code: denied, message: "Invalid signature", clock: -100 * 365 * 24 * time.Hour}, "clock", 2},
		{"clock is text", refused{status: 403, code: denied, message: "Invalid signature", header: map[string]string{"Date": "yesterday"}}, "clock", 1},
		{"message steers the terminal", refused{status: 403, code: denied + "\u009b2J", message: "a\x1b[2J\x07\u202e\r\nhint: b"}, "CloudTrail", 1},
		{"message of 512 KiB", refused{status: 403, code: denied, message: strings.Repeat("long ", 100<<10)}, "CloudTrail", 1},
		{"header of 30 KiB", refused{status: 403, code: strings.Repeat("x", 30<<10)}, "CloudTrail", 1},
	} {
		all = append(all, badInput{name: "refused: " + c.name, serve: answer(c.ServeHTTP), code: front.ExitRefused, culprit: fmt.Sprint(c.status), hint: c.hint, sent: c.sent})
	}
	for _, c := range []struct {
		name, body string
		status     int
		code       int
		hint       string
		sent       int
	}{
		{"502 with a web page", "<html>Bad gateway</html>", 502, front.ExitUnreachable, "proxy", attempts},
		{"503 with nothing", "", 503, front.ExitUnreachable, "proxy", attempts},
		{"403 with a web page", "<html>Blocked by policy</html>", 403, front.ExitUnreachable, "proxy", 1},
		{"404 with text", "404 page not found", 404, front.ExitUnreachable, "endpoint", 1},
		{"407 with nothing", "", 407, front.ExitUnreachable, "HTTPS_PROXY", 1},
		{"400 with a list", "[]", 400, front.ExitUnreachable, "endpoint", 1},
		{"418 with JSON of other types", `{"message":[],"code":7}`, 418, front.ExitUnreachable, "endpoint", 1},
		{"403 with the code in the body", `{"__type":"com.amazonaws#AccessDeniedException","Message":"Untrusted signing certificate"}`, 403, front.ExitRefused, "--intermediates", 1},
	} {
		all = append(all, badInput{name: c.name, serve: answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}), code: c.code, culprit: fmt.Sprint(c.status), hint: c.hint, sent: c.sent})
	}
	return all
}
