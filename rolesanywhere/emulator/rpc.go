package emulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// An rpcService is a service that answers the protocol JSON 1.1 of AWS. Newer SDKs speak
// RPC v2 CBOR to AWS Private CA, and get an error.
type rpcService struct {
	name, source string // in signatures and in events
	shape        string // its name in the service model
	operations   *lookup.Table[string, func(*Server, *rpcRequest) (any, error)]
	open         bool // sessions may call it, not only the administrator
	faults       bool // are injected
}

var rpcServices = []*rpcService{
	{name: cloudTrailService, source: sourceCloudTrail, shape: "CloudTrail_20131101", operations: &cloudTrailOperations},
	{name: privateCAService, source: sourcePrivateCA, shape: "ACMPrivateCA", operations: &privateCAOperations, open: true, faults: true},
}

const (
	headerTarget   = "X-Amz-Target"
	headerProtocol = "Smithy-Protocol"
)

// An rpcProtocol says where a request names its service and its operation, and how values
// are encoded.
type rpcProtocol struct {
	id          string // in the header Smithy-Protocol; empty: there is no such header
	contentType string
	names       func(*http.Request) (shape, operation string)
	encode      func(any) ([]byte, error)
}

// Source: Smithy 2.0 specification, "AWS JSON 1.1 protocol" and "Smithy RPC v2 CBOR
// protocol".
var (
	jsonRPC = &rpcProtocol{contentType: "application/x-amz-json-1.1", names: namesInTarget, encode: json.Marshal}
	cborRPC = &rpcProtocol{id: "rpc-v2-cbor", contentType: "application/cbor", names: namesInPath, encode: encodeError}
)

// rpcProtocolOf returns the protocol of a request, or nil if it has another one.
func rpcProtocolOf(r *http.Request) *rpcProtocol {
	switch {
	case r.Header.Get(headerProtocol) == cborRPC.id:
		return cborRPC
	case r.URL.Path == "/" && r.Header.Get(headerTarget) != "":
		return jsonRPC
	}
	return nil
}

// namesInTarget returns the names in SHAPE.OPERATION. For CloudTrail, boto3 and the AWS CLI
// write a namespace before that, which the AWS SDK for Go does not.
func namesInTarget(r *http.Request) (shape, operation string) {
	parts := strings.Split(r.Header.Get(headerTarget), ".")
	n := len(parts)
	return parts[max(0, n-2)], parts[n-1]
}

// namesInPath returns the names in /service/SHAPE/operation/OPERATION.
func namesInPath(r *http.Request) (shape, operation string) {
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) != 5 || parts[0] != "" || parts[1] != "service" || parts[3] != "operation" {
		return "", r.URL.Path
	}
	return parts[2], parts[4]
}

// An rpcRequest is a verified request.
type rpcRequest struct {
	body   []byte
	caller *session
	ev     *event
}

// input decodes the body into in, and records it in the event. The names of its members
// begin with capital letters, unlike those in events.
func (q *rpcRequest) input(in any) error {
	if err := decodeStrictly(q.body, in, capitalized); err != nil {
		return refuse(codeSerialization, msgBody, clip(err.Error()))
	}
	q.ev.RequestParameters = in
	return nil
}

func (s *Server) serveRPC(w *recorder, r *http.Request, id string, protocol *rpcProtocol) {
	shape, name := protocol.names(r)
	w.operation = name
	i := slices.IndexFunc(rpcServices, func(s *rpcService) bool { return s.shape == shape })
	if i < 0 || !rpcServices[i].operations.Has(name) {
		s.writeRPCRefusal(w, protocol, refuse(codeUnknown, msgRPCOperation, clip(name), clip(shape)))
		return
	}
	if protocol != jsonRPC {
		s.writeRPCRefusal(w, protocol, refuse(codeUnknown, msgCBOR, name))
		return
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != protocol.contentType {
		s.writeRPCRefusal(w, protocol, refuse(codeUnknown, msgRPCProtocol, name, protocol.contentType))
		return
	}
	service := rpcServices[i]
	ev := s.newEvent(r, id, service.source, name)
	out, err := s.answerRPC(w, r, service, &rpcRequest{ev: &ev})
	if !ev.ReadOnly { // CloudTrail records no response of a call that only reads
		ev.ResponseElements = out
	}
	if refused := s.finish(ev, err); refused != nil {
		s.writeRPCRefusal(w, protocol, refused)
		return
	}
	s.writeRPC(w, protocol, http.StatusOK, out)
}

// answerRPC reads and authenticates a request and returns the response of its operation.
func (s *Server) answerRPC(w *recorder, r *http.Request, service *rpcService, q *rpcRequest) (any, error) {
	var err error
	if q.body, err = readBody(w.ResponseWriter, r, maxBody); err != nil {
		return nil, refuse(codeSerialization, msgBody, err)
	}
	if service.faults {
		if err := s.inject(r); err != nil {
			return nil, err
		}
	}
	if q.caller, err = s.caller(r, q.body, service.name, s.region); err != nil {
		return nil, jsonRefusal(err)
	}
	q.ev.identify(q.caller)
	name := q.ev.EventName
	if err := s.limits.check(name, q.caller.User.ARN, codeThrottling, s.now()); err != nil {
		return nil, err
	}
	if !service.open && !q.caller.isAdministrator() {
		return nil, notAdministrator(codeAccessDenied, q.caller, service.name+":"+name)
	}
	return service.operations.Get(name)(s, q)
}

// writeRPCRefusal writes an error response. All errors of clients have the status 400.
func (s *Server) writeRPCRefusal(w *recorder, protocol *rpcProtocol, r *refusal) {
	w.refused = r
	status := statuses.Get(r.code)
	if status < 500 {
		status = http.StatusBadRequest
	}
	s.writeRPC(w, protocol, status, rpcError{r.code, strings.ToValidUTF8(r.message, "\ufffd")})
}

// An rpcError is the error of an operation.
type rpcError struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
}

func (s *Server) writeRPC(w http.ResponseWriter, protocol *rpcProtocol, status int, v any) {
	b, err := protocol.encode(v)
	if err != nil { // impossible with the types in use
		status, b = http.StatusInternalServerError, nil
		s.logger.Error("could not encode response", "error", err)
	}
	if protocol.id != "" {
		w.Header().Set(headerProtocol, protocol.id)
	}
	s.write(w, status, protocol.contentType, b)
}
