package signer

import (
	"crypto/x509"
	"time"
)

// MaxChecks is the maximum number of signatures that one search verifies. The
// last path may exceed it.
const MaxChecks = maxChecks + maxPath

// Checks returns the number of signatures that the search from leaf verifies.
func Checks(leaf *x509.Certificate, certs []*x509.Certificate, now time.Time) int {
	return maxChecks - newSearch(leaf, certs, now).checks
}
