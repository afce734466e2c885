package emulator

import (
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// maxQueryBody is the limit of a body of the Query protocol, in bytes. A trust policy has
// at most 131,072 characters, which may be escaped.
const maxQueryBody = 512 << 10

// A queryService is a service with the Query protocol of AWS.
type queryService struct {
	version      string
	name, source string // in signatures and in events
	namespace    string // of the XML
	operation    func(action string) func(*Server, *queryRequest) (any, error)
	internal     string // code of internal errors
	open         bool   // sessions may call it, not only the administrator
	global       bool   // only in one region of the partition
}

// STS accepts signatures for any region, because clients use different regions for its
// global endpoint.
var (
	sts = queryService{stsVersion, stsService, sourceSTS, stsNamespace, stsOperationOf, codeSTSInternal, true, false}
	iam = queryService{iamVersion, iamService, sourceIAM, iamNamespace, iamOperationOf, codeIAMInternal, false, true}
)

// A queryRequest is a verified request of the Query protocol.
type queryRequest struct {
	form   url.Values // with Action and Version
	id     string     // of the request
	caller *session
	now    time.Time // in whole seconds
	ev     *event
}

// An errorResponse is the error of a service with the Query protocol. The namespace
// depends on the service.
type errorResponse struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

func (s *Server) serveQuery(w *recorder, r *http.Request, id string) {
	body, err := readBody(w.ResponseWriter, r, maxQueryBody)
	service := sts // unless the request is for IAM
	var form url.Values
	if err != nil {
		err = refuse(codeSTSValidation, msgBody, err)
	} else {
		form, err = parseForm(r.URL.RawQuery, body)
	}
	if form.Get("Version") == iamVersion {
		service = iam
	}
	action := form.Get("Action")
	w.operation = action
	if err == nil && (service.version != form.Get("Version") || service.operation(action) == nil) {
		err = refuse(codeInvalidAction, msgSTSAction, action, form.Get("Version")).because(errors.New("the emulator does not implement it"))
	}
	if err != nil {
		s.writeXMLRefusal(w, asRefusal(err), service, id)
		return
	}
	ev := s.newEvent(r, id, service.source, action)
	out, err := s.answerQuery(r, body, service, &queryRequest{form: form, id: id, now: s.now().UTC().Truncate(time.Second), ev: &ev})
	if refused := s.finish(ev, err); refused != nil {
		s.writeXMLRefusal(w, refused, service, id)
		return
	}
	s.writeXML(w, http.StatusOK, out)
}

// answerQuery authenticates a request and returns the response of its action.
func (s *Server) answerQuery(r *http.Request, body []byte, service queryService, q *queryRequest) (any, error) {
	var regions []string
	if service.global {
		// With the URL of another endpoint, clients sign for their own region.
		regions = []string{globalRegions.Get(partition(s.region)), s.region}
	}
	caller, err := s.caller(r, body, service.name, regions...)
	if err != nil {
		return nil, err
	}
	q.caller = caller
	q.ev.identify(caller)
	action := q.form.Get("Action")
	if err := s.limits.check(action, caller.User.ARN, codeSTSThrottling, s.now()); err != nil {
		return nil, err
	}
	if !service.open && !caller.isAdministrator() {
		return nil, notAdministrator(codeSTSDenied, caller, service.name+":"+action)
	}
	return service.operation(action)(s, q)
}

// parseForm returns the parameters of the query protocol, which may be in the
// query or in the body. It checks that there is one Action and one Version.
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
	if len(values["Version"]) != 1 {
		return nil, refuse(codeInvalidAction, msgSTSAction, values.Get("Action"), values.Get("Version"))
	}
	return values, nil
}

func (s *Server) writeXMLRefusal(w *recorder, r *refusal, service queryService, id string) {
	if r.code == codeInternal {
		r = &refusal{service.internal, r.message, r.cause}
	}
	w.refused = r
	fault := "Sender"
	if statuses.Get(r.code) >= 500 {
		fault = "Receiver"
	}
	s.writeXML(w, statuses.Get(r.code), errorResponse{
		XMLName: xml.Name{Space: service.namespace, Local: "ErrorResponse"},
		Type:    fault, Code: r.code, Message: r.message, RequestID: id,
	})
}

func (s *Server) writeXML(w http.ResponseWriter, status int, v any) {
	b, err := xml.Marshal(v)
	if err != nil { // impossible with the types in use
		status, b = http.StatusInternalServerError, nil
		s.logger.Error("could not encode response", "error", err)
	}
	s.write(w, status, "text/xml", b)
}
