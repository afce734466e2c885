package emulator

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxEvents limits the memory for events.
	maxEvents = 10_000
	// maxUserAgent is the limit of the user agent in an event, in bytes.
	//
	// Source: AWS CloudTrail User Guide, "CloudTrail record contents".
	maxUserAgent = 1024
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

	also   []func(*changes) // changes that are stored with the event
	beside []event          // events that are stored with it
	lines  [][]byte         // of the event log, if changeWith has stored the event
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
)

// resourcesOf returns the resources in the response of an operation of Roles Anywhere.
func resourcesOf(out any) (all []eventResource) {
	members, _ := out.(map[string]any)
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
		UserAgent:          clipTo(r.UserAgent(), maxUserAgent),
		RequestID:          requestID,
		EventID:            newUUID(),
		ReadOnly:           isReadOnly(name),
		EventType:          "AwsApiCall",
		ManagementEvent:    true,
		RecipientAccountID: s.account,
		EventCategory:      "Management",
	}
}

func (e *event) fail(r *refusal) {
	e.ErrorCode, e.ErrorMessage = r.code, r.message
	if r.cause != nil {
		e.AdditionalEventData.Reason = clipTo(r.cause.Error(), maxReason)
	}
}

// An eventLog writes each event with one call of Write. The calls are never
// concurrent.
type eventLog struct {
	mu sync.Mutex
	w  io.Writer // nil: none
}

// encode returns the event as one line.
func (e event) encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(e) // an error is impossible with the types in use
	return b.Bytes(), err
}

// changeWith is change for a request. If f succeeds, its changes are stored together with
// the event of the request and what f returns, which becomes the response of the event.
func (s *Server) changeWith(e *event, f func(*changes) (any, error)) (out any, err error) {
	done := *e
	err = s.change(func(c *changes) (err error) {
		if out, err = f(c); err != nil {
			return err
		}
		done.ResponseElements, done.Resources = eventDetail(out), resourcesOf(out)
		return s.addEvent(c, &done)
	})
	if err == nil {
		*e = done
	}
	return out, err
}

// record stores an event, unless changeWith has stored it, and writes it and the events
// beside it to the log of events.
func (s *Server) record(e event) error {
	if e.lines == nil {
		if err := s.change(func(c *changes) error { return s.addEvent(c, &e) }); err != nil {
			return err
		}
	}
	s.events.write(e.lines, s.logger)
	return nil
}

// addEvent adds an event, the events beside it and its changes.
func (s *Server) addEvent(c *changes, e *event) error {
	all := append([]event{*e}, e.beside...)
	oldest := s.history.keys
	for _, key := range oldest[:max(0, len(oldest)+len(all)-maxEvents)] {
		s.history.remove(c, key)
	}
	for _, one := range all {
		line, err := one.encode()
		if err != nil {
			return err
		}
		s.history.put(c, one.EventID, bytes.TrimSpace(line))
		e.lines = append(e.lines, line)
	}
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

// finish records the event of a request that ended with err or succeeded, and returns
// the refusal to send, or nil.
func (s *Server) finish(e event, err error) *refusal {
	var refused *refusal
	if err != nil {
		refused = asRefusal(err)
		e.fail(refused)
		e.ResponseElements = nil
	}
	if err := s.record(e); err != nil && refused == nil {
		return asRefusal(err)
	}
	return refused
}
