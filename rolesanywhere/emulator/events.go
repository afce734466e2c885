package emulator

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// maxEvents limits the memory for events.
const maxEvents = 10_000

const (
	sourceRolesAnywhere = "rolesanywhere.amazonaws.com"
	sourceSTS           = "sts.amazonaws.com"
)

// An event is one line of the event log, in the form of a CloudTrail record. It
// never contains a secret access key or a session token.
type event struct {
	EventVersion        string        `json:"eventVersion"`
	UserIdentity        *userIdentity `json:"userIdentity,omitempty"` // the verified caller of STS
	EventTime           string        `json:"eventTime"`
	EventSource         string        `json:"eventSource"`
	EventName           string        `json:"eventName"`
	AWSRegion           string        `json:"awsRegion"`
	SourceIPAddress     string        `json:"sourceIPAddress"`
	UserAgent           string        `json:"userAgent"`
	ErrorCode           string        `json:"errorCode,omitempty"`
	ErrorMessage        string        `json:"errorMessage,omitempty"`
	RequestParameters   any           `json:"requestParameters"`
	ResponseElements    any           `json:"responseElements"`
	AdditionalEventData *findings     `json:"additionalEventData,omitempty"`
	RequestID           string        `json:"requestID"`
	EventID             string        `json:"eventID"`
	RecipientAccountID  string        `json:"recipientAccountId"`

	also []func(*changes) // changes that are stored with the event
}

type userIdentity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	AccessKeyID string `json:"accessKeyId"`
}

func (s *session) identity() *userIdentity {
	id := &userIdentity{Type: "AssumedRole", PrincipalID: s.User.ID, ARN: s.User.ARN, AccountID: s.Account, AccessKeyID: s.AccessKeyID}
	if s.isAdministrator() {
		id.Type = "IAMUser"
	}
	return id
}

// sessionParameters are the parameters of a request and fields of its
// certificate. The certificate is verified only if the request succeeded.
type sessionParameters struct {
	params
	SerialNumber string `json:"serialNumber,omitempty"` // hexadecimal
	Subject      string `json:"subject,omitempty"`      // RFC 2253
}

type sessionElements struct {
	CredentialSet []loggedCredentials `json:"credentialSet"`
	SubjectARN    string              `json:"subjectArn"`
}

type loggedCredentials struct {
	AssumedRoleUser assumedRoleUser `json:"assumedRoleUser"`
	Credentials     struct {
		AccessKeyID string `json:"accessKeyId"`
		Expiration  string `json:"expiration"`
	} `json:"credentials"`
	RoleARN        string `json:"roleArn"`
	SourceIdentity string `json:"sourceIdentity"`
}

func responseElements(out *createSessionOutput) *sessionElements {
	e := &sessionElements{SubjectARN: out.SubjectARN}
	for _, c := range out.CredentialSet {
		l := loggedCredentials{AssumedRoleUser: c.AssumedRoleUser, RoleARN: c.RoleARN, SourceIdentity: c.SourceIdentity}
		l.Credentials.AccessKeyID, l.Credentials.Expiration = c.Credentials.AccessKeyID, c.Credentials.Expiration
		e.CredentialSet = append(e.CredentialSet, l)
	}
	return e
}

// findings are problems of a signature, in the form that the service records.
type findings struct {
	HeadersNotSigned     []string `json:"requiredHeadersNotSigned,omitempty"`
	AlgorithmKeyMismatch string   `json:"algorithmKeyMismatch,omitempty"` // the algorithm named in the request
}

// signatureFindings returns the problems of a request's signature, or nil if
// there are none. It uses only the headers, so that it also works for a request
// that cannot be parsed.
func signatureFindings(r *http.Request) *findings {
	algorithm, fields, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, list, _ := strings.Cut(fields, "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	signed := strings.Split(list, ";")

	required := []string{"host", "x-amz-date", "x-amz-x509"}
	for _, name := range []string{"content-type", "x-amz-x509-chain"} {
		if r.Header.Get(name) != "" {
			required = append(required, name)
		}
	}
	var f findings
	for _, name := range required {
		if !slices.Contains(signed, name) {
			f.HeadersNotSigned = append(f.HeadersNotSigned, name)
		}
	}
	if der, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Amz-X509")); err == nil {
		if cert, err := x509.ParseCertificate(der); err == nil {
			if want, err := sigv4x509.Algorithm(cert.PublicKey); err == nil && want != algorithm {
				f.AlgorithmKeyMismatch = algorithm
			}
		}
	}
	if f.HeadersNotSigned == nil && f.AlgorithmKeyMismatch == "" {
		return nil
	}
	return &f
}

func (s *Server) newEvent(r *http.Request, requestID, source, name string) event {
	addr, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		addr = r.RemoteAddr
	}
	return event{
		EventVersion:       "1.11",
		EventTime:          s.now().UTC().Format(time.RFC3339),
		EventSource:        source,
		EventName:          name,
		AWSRegion:          s.region,
		SourceIPAddress:    addr,
		UserAgent:          r.UserAgent(),
		RequestID:          requestID,
		EventID:            newUUID(),
		RecipientAccountID: s.account,
	}
}

func (e *event) fail(r *refusal) {
	e.ErrorCode, e.ErrorMessage = r.code, r.message
}

// An eventLog writes each event with one call of Write. The calls are never
// concurrent.
type eventLog struct {
	mu sync.Mutex
	w  io.Writer // nil: none
}

// record stores an event with its changes, and writes it to the log of events.
func (s *Server) record(e event) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil { // impossible with the types in use
		return err
	}
	err := s.change(func(c *changes) error {
		for _, f := range e.also {
			f(c)
		}
		if len(s.history.keys) >= maxEvents {
			s.history.remove(c, s.history.keys[0])
		}
		s.history.put(c, e.EventID, bytes.TrimSpace(b.Bytes()))
		return nil
	})
	if err != nil {
		return err
	}
	if s.events.w == nil {
		return nil
	}
	s.events.mu.Lock()
	_, err = s.events.w.Write(b.Bytes())
	s.events.mu.Unlock()
	if err != nil {
		s.logger.Error("could not write event", "error", err)
	}
	return nil
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
