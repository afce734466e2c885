package emulator

import (
	"encoding/xml"
	"net/http"
	"strings"
)

// services are the services in the signatures of requests that the emulator answers.
var services = []string{rolesAnywhereService, iamService, stsService, cloudTrailService, privateCAService}

// serviceOf returns the service in the credential scope of a signature, which is not
// verified yet, or "".
func serviceOf(r *http.Request) string {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	scope := strings.Split(strings.TrimSpace(credential), "/")
	if !ok || len(scope) != 5 {
		return ""
	}
	return scope[3]
}

// refuseForeign answers a request to a service that the emulator does not know, in the
// protocol of the service.
func (s *Server) refuseForeign(w *recorder, r *http.Request, service, id string) {
	refused := refuse(codeUnknown, msgForeign, clip(service))
	protocol := rpcProtocolOf(r)
	w.operation = service
	switch {
	case service == "s3":
		w.refused = refused
		s.writeXML(w, http.StatusNotImplemented, struct {
			XMLName   xml.Name `xml:"Error"`
			Code      string
			Message   string
			RequestID string `xml:"RequestId"`
		}{Code: "NotImplemented", Message: refused.message, RequestID: id})
	case protocol != nil:
		_, name := protocol.names(r)
		w.operation += ":" + name
		s.writeRPCRefusal(w, protocol, refused)
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		refused.code = codeInvalidAction
		s.writeXMLRefusal(w, refused, sts, id)
	default:
		s.writeRefusal(w, refused)
	}
}
