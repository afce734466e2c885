package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// An rpcService is a service that answers two protocols of AWS: JSON 1.1, and RPC v2 CBOR,
// which newer SDKs speak to AWS Private CA.
type rpcService struct {
	name, source string // in signatures and in events
	target, path string // that precede the name of an operation in each protocol
	operations   map[string]func(*Server, *rpcRequest) (any, error)
	open         bool // sessions may call it, not only the administrator
	faults       bool // are injected
}

var rpcServices = []*rpcService{
	{
		name: cloudTrailService, source: sourceCloudTrail,
		target: "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.", path: "/service/CloudTrail_20131101/operation/",
		operations: cloudTrailOperations,
	},
	{
		name: privateCAService, source: sourcePrivateCA,
		target: "ACMPrivateCA.", path: "/service/ACMPrivateCA/operation/",
		operations: privateCAOperations, open: true, faults: true,
	},
}

const (
	headerTarget   = "X-Amz-Target"
	headerProtocol = "Smithy-Protocol"
)

// An rpcProtocol says where a request names its operation, and how values are encoded.
type rpcProtocol struct {
	id          string // in the header Smithy-Protocol; empty: there is no such header
	contentType string
	address     func(*http.Request) string
	prefix      func(*rpcService) string
	decode      func(body []byte, in any) error
	encode      func(any) ([]byte, error)
}

var jsonRPC = &rpcProtocol{
	contentType: "application/x-amz-json-1.1",
	address:     func(r *http.Request) string { return r.Header.Get(headerTarget) },
	prefix:      func(s *rpcService) string { return s.target },
	decode:      decodeJSON, encode: json.Marshal,
}

// Source: Smithy 2.0 specification, "Smithy RPC v2 CBOR protocol".
var cborRPC = &rpcProtocol{
	id:          "rpc-v2-cbor",
	contentType: "application/cbor",
	address:     func(r *http.Request) string { return r.URL.Path },
	prefix:      func(s *rpcService) string { return s.path },
	decode:      decodeCBOR, encode: encodeCBOR,
}

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

// operation returns the service and the name of the operation of a request. The service is
// nil if it is unknown.
func (p *rpcProtocol) operation(r *http.Request) (service *rpcService, name string) {
	address := p.address(r)
	for _, service := range rpcServices {
		if name, ok := strings.CutPrefix(address, p.prefix(service)); ok {
			return service, name
		}
	}
	return nil, address[strings.LastIndexAny(address, "./")+1:]
}

// An rpcRequest is a verified request.
type rpcRequest struct {
	body     []byte
	protocol *rpcProtocol
	caller   *session
	ev       *event
}

// input decodes the body into in, and records it in the event. It refuses members that the
// emulator does not use.
func (q *rpcRequest) input(in any) error {
	if err := q.protocol.decode(q.body, in); err != nil {
		return refuse(codeSerialization, msgBody, clip(err.Error()))
	}
	q.ev.RequestParameters = eventDetail(in)
	return nil
}

func (s *Server) serveRPC(w *recorder, r *http.Request, id string, protocol *rpcProtocol) {
	service, name := protocol.operation(r)
	w.operation = name
	switch {
	case service == nil:
		s.writeRPCRefusal(w, protocol, refuse(codeUnknown, msgUnknownPath, clip(r.Method), clip(protocol.address(r))))
		return
	case service.operations[name] == nil:
		s.writeRPCRefusal(w, protocol, refuse(codeUnknown, msgRPCOperation, clip(name), service.name))
		return
	case r.Method != http.MethodPost || r.Header.Get("Content-Type") != protocol.contentType:
		s.writeRPCRefusal(w, protocol, refuse(codeUnknown, msgRPCProtocol, name, protocol.contentType))
		return
	}
	ev := s.newEvent(r, id, service.source, name)
	out, err := s.answerRPC(w, r, service, &rpcRequest{protocol: protocol, ev: &ev})
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
	q.ev.UserIdentity = q.caller.identity()
	name := q.ev.EventName
	if !s.limiters[name].allow(s.now()) {
		return nil, refuse(codeThrottling, msgRate)
	}
	if !service.open && !q.caller.isAdministrator() {
		return nil, notAdministrator(codeAccessDenied, q.caller, service.name+":"+name)
	}
	return service.operations[name](s, q)
}

// writeRPCRefusal writes an error response. All errors of clients have the status 400.
func (s *Server) writeRPCRefusal(w *recorder, protocol *rpcProtocol, r *refusal) {
	w.refused = r
	status := statuses[r.code]
	if status < 500 {
		status = http.StatusBadRequest
	}
	s.writeRPC(w, protocol, status, struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{r.code, strings.ToValidUTF8(r.message, "\ufffd")})
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

// decodeJSON decodes one JSON value. It refuses unknown members.
func decodeJSON(body []byte, in any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is data after the JSON value")
	}
	return nil
}
