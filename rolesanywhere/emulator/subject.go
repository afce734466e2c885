package emulator

import "time"

// A subject is the record of the certificates with one subject that asked for
// credentials.
type subject struct {
	resource
	X509Subject string             `json:"x509Subject"`
	LastSeen    time.Time          `json:"lastSeen"`
	Credentials []seenCertificate  `json:"credentials"`
	Properties  []instanceProperty `json:"instanceProperties,omitempty"`
}

// A seenCertificate is a certificate with the time and the result of its last request.
type seenCertificate struct {
	SerialNumber string    `json:"serialNumber"`
	Issuer       string    `json:"issuer"`
	PEM          string    `json:"pem"`
	Seen         time.Time `json:"seen"`
	Failed       bool      `json:"failed"`
}

// An instanceProperty is the instance properties of a request.
type instanceProperty struct {
	Properties map[string]string `json:"properties"`
	Seen       time.Time         `json:"seen"`
	Failed     bool              `json:"failed"`
}
