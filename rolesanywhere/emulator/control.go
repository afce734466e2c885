package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

const rolesAnywhereService = "rolesanywhere"

// maxControlBody is the limit of a body, in bytes. ImportCrl has the largest: a CRL in
// Base64.
const maxControlBody = 512 << 10

// Limits of the lists. The service model does not limit the size of a page; these are
// the emulator's own values.
const (
	defaultPage = 50
	maxPage     = 1000
)

// An operation is one of the control plane of IAM Roles Anywhere.
//
// Source: service model of IAM Roles Anywhere, as in the AWS SDK for Go,
// service/rolesanywhere v1.34.0.
type operation struct {
	name, method, path string
	status             int
	run                func(*Server, *controlRequest) (any, error)
}

// operations are all operations of the service model. CreateSession is not in it.
func operations() []operation {
	return []operation{
		{"CreateProfile", "POST", "/profiles", 201, (*Server).createProfile},
		{"CreateTrustAnchor", "POST", "/trustanchors", 201, (*Server).createTrustAnchor},
		{"DeleteAttributeMapping", "DELETE", "/profiles/{profileId}/mappings", 200, (*Server).deleteAttributeMapping},
		{"DeleteCrl", "DELETE", "/crl/{crlId}", 200, crlKind.remove},
		{"DeleteProfile", "DELETE", "/profile/{profileId}", 200, profileKind.remove},
		{"DeleteTrustAnchor", "DELETE", "/trustanchor/{trustAnchorId}", 200, anchorKind.remove},
		{"DisableCrl", "POST", "/crl/{crlId}/disable", 200, crlKind.disable},
		{"DisableProfile", "POST", "/profile/{profileId}/disable", 200, profileKind.disable},
		{"DisableTrustAnchor", "POST", "/trustanchor/{trustAnchorId}/disable", 200, anchorKind.disable},
		{"EnableCrl", "POST", "/crl/{crlId}/enable", 200, crlKind.enable},
		{"EnableProfile", "POST", "/profile/{profileId}/enable", 200, profileKind.enable},
		{"EnableTrustAnchor", "POST", "/trustanchor/{trustAnchorId}/enable", 200, anchorKind.enable},
		{"GetCrl", "GET", "/crl/{crlId}", 200, crlKind.get},
		{"GetProfile", "GET", "/profile/{profileId}", 200, profileKind.get},
		{"GetSubject", "GET", "/subject/{subjectId}", 200, subjectKind.get},
		{"GetTrustAnchor", "GET", "/trustanchor/{trustAnchorId}", 200, anchorKind.get},
		{"ImportCrl", "POST", "/crls", 201, (*Server).importCRL},
		{"ListCrls", "GET", "/crls", 200, crlKind.list},
		{"ListProfiles", "GET", "/profiles", 200, profileKind.list},
		{"ListSubjects", "GET", "/subjects", 200, subjectKind.list},
		{"ListTagsForResource", "GET", "/ListTagsForResource", 200, (*Server).listTagsForResource},
		{"ListTrustAnchors", "GET", "/trustanchors", 200, anchorKind.list},
		{"PutAttributeMapping", "PUT", "/profiles/{profileId}/mappings", 200, (*Server).putAttributeMapping},
		{"PutNotificationSettings", "PATCH", "/put-notifications-settings", 200, (*Server).putNotificationSettings},
		{"ResetNotificationSettings", "PATCH", "/reset-notifications-settings", 200, (*Server).resetNotificationSettings},
		{"TagResource", "POST", "/TagResource", 201, (*Server).tagResource},
		{"UntagResource", "POST", "/UntagResource", 200, (*Server).untagResource},
		{"UpdateCrl", "PATCH", "/crl/{crlId}", 200, (*Server).updateCRL},
		{"UpdateProfile", "PATCH", "/profile/{profileId}", 200, (*Server).updateProfile},
		{"UpdateTrustAnchor", "PATCH", "/trustanchor/{trustAnchorId}", 200, (*Server).updateTrustAnchor},
	}
}

// A controlRequest is a verified request of the administrator.
type controlRequest struct {
	id     string // from the path: the ID, the ARN or the alias ARN of a resource
	query  url.Values
	body   []byte
	caller *session
	now    time.Time // in whole seconds
	ev     *event

	parameters map[string]any // that are read, for the event
}

// pathParameter returns the name of the parameter in the path, or "".
func (op *operation) pathParameter() string {
	_, name, _ := strings.Cut(op.path, "{")
	name, _, _ = strings.Cut(name, "}")
	return name
}

// record records a parameter in the event.
func (c *controlRequest) record(name string, value any) {
	c.parameters[name] = value
	c.ev.RequestParameters = c.parameters
}

// match returns the operation of a request and the ID in its path.
func match(method, escapedPath string) (op *operation, id string) {
	segments := strings.Split(escapedPath, "/")
	all := operations()
	for i := range all {
		op := &all[i]
		pattern := strings.Split(op.path, "/")
		if op.method != method || len(pattern) != len(segments) {
			continue
		}
		matches := true
		for j, p := range pattern {
			if strings.HasPrefix(p, "{") {
				var err error
				id, err = url.PathUnescape(segments[j])
				matches = matches && err == nil && id != ""
			} else {
				matches = matches && p == segments[j]
			}
		}
		if matches {
			return op, id
		}
	}
	return nil, ""
}

// serveControl answers a request of the protocol REST-JSON to an operation of IAM Roles
// Anywhere.
func (s *Server) serveControl(w *recorder, r *http.Request, id string) {
	op, resource := match(r.Method, r.URL.EscapedPath())
	if op == nil {
		s.writeRefusal(w, refuse(codeUnknown, msgUnknownPath, clip(r.Method), clip(r.URL.Path)))
		return
	}
	w.operation = op.name
	ev := s.newEvent(r, id, sourceRolesAnywhere, op.name)
	out, err := s.answerControl(w, r, op, resource, &ev)
	if refused := s.finish(ev, err); refused != nil {
		s.writeRefusal(w, refused)
		return
	}
	if out == nil {
		out = struct{}{}
	}
	s.writeJSON(w, op.status, out)
}

func (s *Server) answerControl(w *recorder, r *http.Request, op *operation, resource string, ev *event) (any, error) {
	body, err := readBody(w.ResponseWriter, r, maxControlBody)
	if err != nil {
		return nil, refuse(codeValidation, msgBody, err)
	}
	caller, err := s.caller(r, body, rolesAnywhereService, s.region)
	if err != nil {
		return nil, jsonRefusal(err)
	}
	ev.identify(caller)
	c := &controlRequest{id: resource, body: body, caller: caller, now: s.now().UTC().Truncate(time.Second), ev: ev, parameters: make(map[string]any)}
	if name := op.pathParameter(); name != "" {
		c.record(name, resource)
	}
	if !caller.isAdministrator() {
		return nil, notAdministrator(codeAccessDenied, caller, "rolesanywhere:"+op.name)
	}
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, refuse(codeValidation, msgParameter, "in query", err)
	}
	return op.run(s, c)
}

// notAdministrator is the refusal of a session that calls the control plane. In AWS the
// policies of its role decide.
func notAdministrator(code string, caller *session, action string) *refusal {
	return refuse(code, msgSTSDenied, caller.User.ARN, action, "*").because(
		errors.New("the emulator evaluates no policies of roles; only its administrator may call this"))
}

// jsonRefusal returns err with the code that services with JSON protocols use.
func jsonRefusal(err error) *refusal {
	refused := asRefusal(err)
	if code, ok := jsonCodes.Find(refused.code); ok {
		refused.code = code
	}
	return refused
}

// input decodes the body into in, and records its members in the event. An empty body has
// none.
func (c *controlRequest) input(in any) error {
	body := c.body
	if len(body) == 0 {
		body = []byte("{}")
	}
	if err := decodeMembers(body, in); err != nil {
		return err
	}
	members, err := strictjson.Members(body)
	for _, m := range members {
		if string(m.Value) != "null" { // as if it were absent
			c.record(m.Name, m.Value)
		}
	}
	return err
}

// queryValue returns a parameter that the query may contain once, and records it in the event.
func (c *controlRequest) queryValue(name string) (string, error) {
	if len(c.query[name]) > 1 {
		return "", refuse(codeValidation, msgParameter, name, "occurs twice")
	}
	if c.query.Has(name) {
		c.record(name, c.query.Get(name))
	}
	return c.query.Get(name), nil
}

// page returns the page of a list of numbered rows that a request asks for, and the
// token of the next one.
func (c *controlRequest) page(s *Server, table string, numbers []uint64) (from, to int, next string, err error) {
	size := defaultPage
	v, err := c.queryValue("pageSize")
	if err != nil {
		return 0, 0, "", err
	}
	if c.query.Has("pageSize") {
		if size, err = strconv.Atoi(v); err != nil {
			return 0, 0, "", constraint("pageSize", "Member must be an integer")
		}
		if err := between("pageSize", size, 1, maxPage); err != nil {
			return 0, 0, "", err
		}
	}
	token, err := c.queryValue("nextToken")
	if err == nil && token == "" && c.query.Has("nextToken") {
		err = refuse(codeValidation, msgToken)
	}
	if err != nil {
		return 0, 0, "", err
	}
	return s.slicePage(table, numbers, size, token, codeValidation)
}

// slicePage returns the part of a list after the place that token names. The token
// contains the number of the last row before the page, so that it remains right when
// rows come and go.
func (s *Server) slicePage(table string, numbers []uint64, size int, token, code string) (from, to int, next string, err error) {
	if token != "" {
		after, ok := s.openToken(table, token)
		if !ok {
			return 0, 0, "", refuse(code, msgToken)
		}
		for from < len(numbers) && numbers[from] <= after {
			from++
		}
	}
	to = min(from+size, len(numbers))
	if to < len(numbers) {
		next = s.pageToken(table, numbers[to-1])
	}
	return from, to, next, nil
}

// pageToken returns a token for the rows of a table after one with a number.
func (s *Server) pageToken(table string, number uint64) string {
	n := strconv.FormatUint(number, 10)
	mac := hmac.New(sha256.New, []byte(s.admin.Secret))
	mac.Write([]byte("page " + table + " " + n))
	return n + "." + hex.EncodeToString(mac.Sum(nil)[:16])
}

func (s *Server) openToken(table, token string) (number uint64, ok bool) {
	text, _, _ := strings.Cut(token, ".")
	number, err := strconv.ParseUint(text, 10, 64)
	return number, err == nil && hmac.Equal([]byte(token), []byte(s.pageToken(table, number)))
}
