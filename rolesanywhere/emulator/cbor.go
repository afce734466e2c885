package emulator

import (
	"encoding/binary"
	"net/http"
)

// The protocol RPC v2 CBOR of AWS, which newer SDKs speak to AWS Private CA. The
// emulator answers it only with an error, which the SDKs can read.
const (
	headerProtocol = "Smithy-Protocol"
	protocolCBOR   = "rpc-v2-cbor"
)

// refuseCBOR answers a request of the protocol RPC v2 CBOR.
func (s *Server) refuseCBOR(w *recorder, r *http.Request) {
	refused := refuse(codeUnknown, msgCBOR, clip(r.URL.Path))
	w.refused = refused
	body := []byte{0xa0 | 2} // a map of two pairs (RFC 8949, section 3.1)
	for _, text := range []string{"__type", refused.code, "message", refused.message} {
		body = binary.BigEndian.AppendUint16(append(body, 0x60|25), uint16(len(text))) // a text with a length of two bytes
		body = append(body, text...)
	}
	w.Header().Set(headerProtocol, protocolCBOR)
	s.write(w, http.StatusBadRequest, "application/cbor", body)
}
