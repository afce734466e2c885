package emulator

import "net/http"

const (
	cloudTrailService = "cloudtrail"
	cloudTrailTarget  = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101."
)

func (s *Server) serveCloudTrail(w *recorder, r *http.Request, id string) {
	s.writeJSONRefusal(w, refuse(codeUnknown, msgUnknownPath, r.Method, r.Header.Get(headerTarget)))
}
