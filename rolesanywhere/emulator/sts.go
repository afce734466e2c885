package emulator

import (
	"crypto/subtle"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	stsVersion   = "2011-06-15"
	stsService   = "sts"

	headerToken = "X-Amz-Security-Token"
)

type callerIdentityResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result    Identity `xml:"GetCallerIdentityResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

// An Identity is the owner of credentials.
type Identity struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

type errorResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

func (s *Server) serveSTS(w *recorder, r *http.Request, id string) {
	body, err := readBody(w.ResponseWriter, r)
	var form url.Values
	if err != nil {
		err = refuse(codeSTSValidation, msgBody, err)
	} else {
		form, err = parseForm(r.URL.RawQuery, body)
	}
	if err != nil {
		s.writeXMLRefusal(w, asRefusal(err), id)
		return
	}
	ev := s.newEvent(r, id, sourceSTS, form.Get("Action"))
	out, err := s.answerSTS(r, body, form, id, &ev)
	if err != nil {
		refused := asRefusal(err)
		ev.fail(refused)
		s.record(ev)
		s.writeXMLRefusal(w, refused, id)
		return
	}
	s.record(ev)
	s.writeXML(w, http.StatusOK, out)
}

// answerSTS authenticates a request and returns the response of its action.
func (s *Server) answerSTS(r *http.Request, body []byte, form url.Values, id string, ev *event) (any, error) {
	caller, err := s.caller(r, body, stsService, "")
	if err != nil {
		return nil, err
	}
	ev.UserIdentity = caller.identity()
	action := form.Get("Action")
	if !s.limiters[action].allow(s.now()) {
		return nil, refuse(codeSTSThrottling, msgRate)
	}
	if action == actionAssumeRole {
		return s.assumeRole(caller, form, id, ev)
	}
	return callerIdentityResponse{
		Result:    Identity{ARN: caller.User.ARN, UserID: caller.User.ID, Account: caller.Account},
		RequestID: id,
	}, nil
}

// parseForm returns the parameters of the query protocol, which may be in the
// query or in the body. It checks the parameters Action and Version.
func parseForm(query string, body []byte) (url.Values, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, refuse(codeSTSValidation, msgSTSInvalidForm, err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(codeSTSValidation, msgSTSInvalidForm, err)
	}
	for k, vs := range form {
		values[k] = append(values[k], vs...)
	}
	if len(values["Action"]) != 1 {
		return nil, refuse(codeMissingAction, msgSTSMissing)
	}
	known := values.Get("Action") == actionGetCallerIdentity || values.Get("Action") == actionAssumeRole
	if len(values["Version"]) != 1 || values.Get("Version") != stsVersion || !known {
		return nil, refuse(codeInvalidAction, msgSTSAction, values.Get("Action"), values.Get("Version"))
	}
	return values, nil
}

// caller returns the session whose credentials signed r for a service in a region.
// With the region "" it accepts any, because clients use different regions for the
// global endpoint of STS.
func (s *Server) caller(r *http.Request, body []byte, service, region string) (*session, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, refuse(codeMissingToken, msgSTSNoToken)
	}
	signed, err := sigv4.Parse(r)
	if err != nil {
		return nil, refuse(codeIncomplete, msgSTSIncomplete, err)
	}
	if signed.Service != service {
		return nil, refuse(codeSignatureNoMatch, msgSTSScope, service, signed.Service)
	}
	if region != "" && signed.Region != region {
		return nil, refuse(codeSignatureNoMatch, msgSTSRegion, region, signed.Region)
	}

	now := s.now()
	s.mu.RLock()
	caller, ok := s.sessions.get(signed.AccessKeyID)
	s.mu.RUnlock()
	if !ok || subtle.ConstantTimeCompare([]byte(r.Header.Get(headerToken)), []byte(caller.Token)) != 1 {
		return nil, refuse(codeInvalidToken, msgSTSInvalid)
	}
	if caller.expired(now) {
		return nil, refuse(codeExpiredToken, msgSTSExpired)
	}
	switch err := signed.Verify(r, body, caller.Secret); {
	case errors.Is(err, sigv4.ErrSignature):
		return nil, refuse(codeSignatureNoMatch, msgSTSSignature)
	case err != nil:
		return nil, refuse(codeIncomplete, msgSTSIncomplete, err)
	}
	if err := checkSkew(codeSignatureNoMatch, signed.Time, now); err != nil {
		return nil, err
	}
	return caller, nil
}

func (s *Server) writeXMLRefusal(w *recorder, r *refusal, id string) {
	w.refused = r
	fault := "Sender"
	if statuses[r.code] >= 500 {
		fault = "Receiver"
	}
	s.writeXML(w, statuses[r.code], errorResponse{Type: fault, Code: r.code, Message: r.message, RequestID: id})
}

func (s *Server) writeXML(w http.ResponseWriter, status int, v any) {
	b, err := xml.Marshal(v)
	if err != nil { // impossible with the types in use
		status, b = http.StatusInternalServerError, nil
		s.logger.Error("could not encode response", "error", err)
	}
	s.write(w, status, "text/xml", b)
}
