package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of an event, in bytes. Those of texts are of their form in JSON.
const (
	maxEvent = 16 << 10
	// maxUserAgent is a limit of CloudTrail, as is maxErrorMessage.
	//
	// Source: AWS CloudTrail User Guide, "CloudTrail record contents".
	maxUserAgent    = 1024
	maxErrorMessage = 1024
	maxEventText    = 256  // of other texts
	maxEventARN     = 1024 // longer than the ARN of each role and policy
)

const (
	sourceRolesAnywhere = "rolesanywhere.amazonaws.com"
	sourceSTS           = "sts.amazonaws.com"
)

// An event is one line of the event log, in the form of a CloudTrail record of a
// management event. It never contains a secret access key or a session token.
//
// Source: AWS CloudTrail User Guide, "CloudTrail record contents". The IAM Roles
// Anywhere User Guide, "Logging IAM Roles Anywhere API calls", shows a record of the
// control plane, but none of CreateSession: its parameters and its resources are the
// emulator's own.
type event struct {
	EventVersion        string          `json:"eventVersion"`
	UserIdentity        *userIdentity   `json:"userIdentity"`
	EventTime           string          `json:"eventTime"`
	EventSource         string          `json:"eventSource"`
	EventName           string          `json:"eventName"`
	AWSRegion           string          `json:"awsRegion"`
	SourceIPAddress     string          `json:"sourceIPAddress"`
	UserAgent           string          `json:"userAgent"`
	ErrorCode           string          `json:"errorCode,omitempty"`
	ErrorMessage        string          `json:"errorMessage,omitempty"`
	RequestParameters   any             `json:"requestParameters"`
	ResponseElements    any             `json:"responseElements"`
	AdditionalEventData additionalData  `json:"additionalEventData,omitzero"`
	RequestID           string          `json:"requestID"`
	EventID             string          `json:"eventID"`
	ReadOnly            bool            `json:"readOnly"`
	Resources           []eventResource `json:"resources,omitempty"`
	EventType           string          `json:"eventType"`
	ManagementEvent     bool            `json:"managementEvent"`
	RecipientAccountID  string          `json:"recipientAccountId"`
	EventCategory       string          `json:"eventCategory"`

	verified bool             // the caller has a valid signature
	also     []func(*changes) // changes that are stored with the event
	beside   []event          // events that are stored with it
	lines    [][]byte         // of the event log, if changeWith has stored the event
}

// An eventResource is a resource that a request used.
type eventResource struct {
	AccountID string `json:"accountId"`
	Type      string `json:"type"` // as CloudFormation names it
	ARN       string `json:"ARN"`
}

const (
	typeAnchor  = "AWS::RolesAnywhere::TrustAnchor"
	typeProfile = "AWS::RolesAnywhere::Profile"
	typeCRL     = "AWS::RolesAnywhere::CRL"
	typeRole    = "AWS::IAM::Role"
	typePolicy  = "AWS::IAM::ManagedPolicy"
)

// resourcesOf returns the resources in the response of an operation.
func resourcesOf(out any) (all []eventResource) {
	members, ok := out.(map[string]any)
	if !ok {
		members = map[string]any{"": out}
	}
	for _, v := range members {
		if d, ok := v.(interface{ eventResource() eventResource }); ok {
			all = append(all, d.eventResource())
		}
	}
	return all
}

func newEventResource(kind, arn string) eventResource {
	return eventResource{strings.SplitN(arn, ":", 6)[4], kind, arn}
}

func (d anchorDetail) eventResource() eventResource  { return newEventResource(typeAnchor, d.ARN) }
func (d profileDetail) eventResource() eventResource { return newEventResource(typeProfile, d.ARN) }
func (d crlDetail) eventResource() eventResource     { return newEventResource(typeCRL, d.ARN) }
func (o roleOutput) eventResource() eventResource    { return newEventResource(typeRole, o.Role.ARN) }
func (o policyOutput) eventResource() eventResource {
	return newEventResource(typePolicy, o.Policy.ARN)
}

// isReadOnly reports whether an operation only reads. According to the examples in the
// IAM User Guide, AssumeRole does.
func isReadOnly(name string) bool {
	return name == actionAssumeRole || slices.ContainsFunc([]string{"Get", "List", "Lookup"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

func (s *Server) newEvent(r *http.Request, requestID, source, name string) event {
	addr, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		addr = r.RemoteAddr
	}
	return event{
		EventVersion:       "1.11",
		UserIdentity:       &userIdentity{Type: "Unknown"}, // until the caller is verified
		EventTime:          s.now().UTC().Format(time.RFC3339),
		EventSource:        source,
		EventName:          name,
		AWSRegion:          s.region,
		SourceIPAddress:    addr,
		UserAgent:          r.UserAgent(),
		RequestID:          requestID,
		EventID:            newUUID(),
		ReadOnly:           isReadOnly(name),
		EventType:          "AwsApiCall",
		ManagementEvent:    true,
		RecipientAccountID: s.account,
		EventCategory:      "Management",
	}
}

// identify records the caller, whose signature is verified.
func (e *event) identify(caller *session) { e.UserIdentity, e.verified = caller.identity(), true }

// onlyReads reports whether the request changes nothing.
func (e *event) onlyReads() bool { return e.ReadOnly && len(e.also) == 0 }

func (e *event) fail(r *refusal) {
	e.ErrorCode, e.ErrorMessage = r.code, r.message
	if r.cause != nil {
		e.AdditionalEventData.Reason = r.cause.Error()
	}
}

// An eventLog writes each event with one call of Write. The calls are never
// concurrent.
type eventLog struct {
	mu sync.Mutex
	w  io.Writer // nil: none
}

// encode returns the event as one line of at most maxEvent bytes, whatever the client
// sent. It shortens texts, and replaces a request or a response that is too large by a
// note, because many large events would fill the memory.
func (e event) encode() ([]byte, error) {
	limits := map[*string]int{
		&e.EventName: maxEventText, &e.SourceIPAddress: maxEventText, &e.UserAgent: maxUserAgent, &e.ErrorMessage: maxErrorMessage,
		&e.AdditionalEventData.Reason: maxReason, &e.AdditionalEventData.AlgorithmKeyMismatch: maxEventText,
	}
	e.Resources = slices.Clone(e.Resources)
	for i := range e.Resources {
		limits[&e.Resources[i].ARN] = maxEventARN
	}
	for text, limit := range limits {
		*text = clipJSON(*text, limit)
	}
	details := []*any{&e.RequestParameters, &e.ResponseElements}
	slices.SortStableFunc(details, func(a, b *any) int { return sizeJSON(*b) - sizeJSON(*a) }) // the larger one first
	line, err := encodeLine(e)
	for _, detail := range details {
		if err != nil || len(line) <= maxEvent {
			break
		}
		*detail = omitted(sizeJSON(*detail))
		line, err = encodeLine(e)
	}
	return line, err
}

// omitted is the note in place of a large request or response. CloudTrail has the same
// members in an event that it shortens.
func omitted(size int) any {
	return map[string]any{"omitted": true, "originalSize": size, "reason": fmt.Sprintf("the event is larger than %d bytes", maxEvent)}
}

func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v) // an error is impossible with the types in use
	return b.Bytes(), err
}

func sizeJSON(v any) int {
	b, _ := encodeLine(v)
	return len(b)
}

// clipJSON returns the beginning of a text whose JSON has at most limit bytes.
func clipJSON(s string, limit int) string {
	for n := limit; len(s) > 0 && sizeJSON(s) > limit; n /= 2 {
		s = clipTo(s, n)
	}
	return s
}

// changeWith is change for a request. If f succeeds, its changes are stored together with
// the event of the request and what f returns, which becomes the response of the event. f
// can add to the event.
func (s *Server) changeWith(e *event, f func(*changes) (any, error)) (out any, err error) {
	var done event
	err = s.change(func(c *changes) (err error) {
		if out, err = f(c); err != nil {
			return err
		}
		done = *e
		done.ResponseElements = out
		done.addResources(resourcesOf(out))
		return s.addEvent(c, &done)
	})
	if err == nil {
		*e = done
	}
	return out, err
}

// addResources adds resources that the event does not have yet.
func (e *event) addResources(more []eventResource) {
	for _, r := range more {
		if !slices.Contains(e.Resources, r) {
			e.Resources = append(slices.Clip(e.Resources), r)
		}
	}
}

// addEvent adds an event, the events beside it and its changes.
func (s *Server) addEvent(c *changes, e *event) error {
	var kept []keptEvent
	for _, one := range append([]event{*e}, e.beside...) {
		line, err := one.encode()
		if err != nil {
			return err
		}
		kept = append(kept, keptEvent{id: one.EventID, record: bytes.TrimSpace(line)})
		e.lines = append(e.lines, line)
	}
	s.history.add(c, e.verified, kept)
	for _, f := range e.also {
		f(c)
	}
	return nil
}

func (l *eventLog) write(lines [][]byte, logger *slog.Logger) {
	if l.w == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		if _, err := l.w.Write(line); err != nil {
			logger.Error("could not write event", "error", err)
		}
	}
}

// finish stores the event of a request that ended with err or succeeded, unless changeWith
// has stored it, writes it to the log of events, and returns the refusal to send, or nil.
// If the event cannot be stored, a request that changes nothing is answered all the same.
func (s *Server) finish(e event, err error) *refusal {
	var refused *refusal
	if err != nil {
		refused = asRefusal(err)
		e.fail(refused)
		e.ResponseElements = nil
	}
	if e.lines == nil {
		if err := s.change(func(c *changes) error { return s.addEvent(c, &e) }); err != nil {
			s.logger.Error("could not store event", "event", e.EventName, "error", err)
			if refused == nil && !e.onlyReads() {
				return asRefusal(err)
			}
		}
	}
	s.events.write(e.lines, s.logger)
	return refused
}
