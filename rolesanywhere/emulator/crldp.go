package emulator

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// Limits of the CRLs that distribution points name. AWS documents none.
const (
	pointsTimeout    = 5 * time.Second // of all CRLs of a request
	pointsAge        = 10 * time.Second
	maxPoints        = 4 // URLs of a certificate
	maxCachedPoints  = 100
	maxPointsHeaders = 16 << 10 // bytes
)

// A pointCache holds CRLs from distribution points by URL for a short time.
type pointCache struct {
	mu    sync.Mutex
	lists map[string]cachedPoint
}

type cachedPoint struct {
	list    *revocationList
	fetched time.Time
}

// checkPoints checks the certificates of the chains, which were verified, with the CRLs
// that their distribution points name, and returns the first chain that passes. AWS
// documents only that CRLs of distribution points are checked. The rest is the emulator's
// decision: a certificate without distribution points is not checked, and one whose
// status cannot be determined is refused (RFC 5280, section 6.3.3).
func (s *Server) checkPoints(ctx context.Context, chains [][]*x509.Certificate, now time.Time) (_ []*x509.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, pointsTimeout)
	defer cancel()
	for _, chain := range chains { // one valid path is enough
		if err = s.checkChain(ctx, chain, now); err == nil {
			return chain, nil
		}
	}
	return nil, err
}

func (s *Server) checkChain(ctx context.Context, chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[:len(chain)-1] {
		if !hasPoints(c) {
			continue
		}
		if err := s.checkCertificate(ctx, c, chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

// hasPoints reports whether a certificate has the extension with distribution points (RFC
// 5280, section 4.2.1.13). These need not be URLs.
func hasPoints(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 31})
	})
}

// checkCertificate checks one certificate. Its URLs are alternatives: one usable CRL is
// enough, but no CRL may contain the certificate.
func (s *Server) checkCertificate(ctx context.Context, c, issuer *x509.Certificate, now time.Time) error {
	if len(c.CRLDistributionPoints) == 0 {
		return undetermined(c, "no distribution point has a URL")
	}
	usable := false
	var problems []string
	for _, location := range c.CRLDistributionPoints[:min(len(c.CRLDistributionPoints), maxPoints)] {
		list, err := s.points.get(ctx, location, now)
		if err == nil {
			err = list.current(issuer, now)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", location, err))
			continue
		}
		if list.revoked[c.SerialNumber.String()] {
			return refuse(codeAccessDenied, msgRevoked, trustpolicy.SerialNumber(c), c.Issuer)
		}
		usable = true
	}
	if usable {
		return nil
	}
	return undetermined(c, strings.Join(problems, "; "))
}

func undetermined(c *x509.Certificate, reason string) error {
	return refuse(codeAccessDenied, msgRevocation).because(
		fmt.Errorf("certificate with serial number %s: %s", trustpolicy.SerialNumber(c), reason))
}

// current returns an error if the list does not determine the status of the certificates
// of issuer.
func (c *revocationList) current(issuer *x509.Certificate, now time.Time) error {
	switch {
	case !c.issuedBy(issuer):
		return errors.New("the CRL is not signed by the issuer of the certificate")
	case !c.list.NextUpdate.IsZero() && now.After(c.list.NextUpdate):
		return fmt.Errorf("the CRL is outdated since %s", c.list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// get returns the CRL at a URL, which may be a few seconds old.
func (p *pointCache) get(ctx context.Context, location string, now time.Time) (*revocationList, error) {
	p.mu.Lock()
	known, ok := p.lists[location]
	p.mu.Unlock()
	if age := now.Sub(known.fetched); ok && age >= 0 && age < pointsAge {
		return known.list, nil
	}
	b, err := readPoint(ctx, location)
	if err != nil {
		return nil, err
	}
	list, err := parseCRL(b)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lists == nil || len(p.lists) >= maxCachedPoints {
		p.lists = make(map[string]cachedPoint)
	}
	p.lists[location] = cachedPoint{list, now}
	return list, nil
}

// readPoint reads a CRL from a file or from this machine. A certificate must not make the
// emulator send requests to other machines.
func readPoint(ctx context.Context, location string) ([]byte, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("the URL is invalid")
	}
	switch {
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && strings.HasPrefix(u.Path, "/"):
		path := u.Path
		if runtime.GOOS == "windows" { // file:///C:/ca.crl
			path = strings.TrimPrefix(path, "/")
		}
		return readPointFile(ctx, filepath.FromSlash(path))
	case u.Scheme == "http" && u.User == nil && isLoopbackHost(u.Hostname()):
		return getPoint(ctx, location)
	}
	return nil, errors.New("the emulator reads only file: URLs, and http: URLs of this machine's loopback interface")
}

// pointFiles limits the files that are read at the same time. Nothing can interrupt a
// read that hangs, such as one from a network file system.
var pointFiles slots

// slots is a semaphore for eight goroutines, which is made when it is first used.
type slots struct {
	once sync.Once
	made chan struct{}
}

func (s *slots) channel() chan struct{} {
	s.once.Do(func() { s.made = make(chan struct{}, 8) })
	return s.made
}

// readPointFile reads a CRL from a file until ctx ends.
func readPointFile(ctx context.Context, path string) ([]byte, error) {
	files := pointFiles.channel()
	select {
	case files <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: other files are being read: %w", path, ctx.Err())
	}
	return await.Result(ctx, func() ([]byte, error) {
		defer func() { <-files }()
		b, err := readFile(path, maxCRL)
		if err == nil && len(b) == 0 {
			err = fmt.Errorf("%s: the file is empty", path)
		}
		return b, err
	}, nil)
}

func isLoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}

// loopbackClient connects only to loopback addresses, whatever localhost resolves to. It
// uses no proxy and follows no redirects.
var loopbackClient = &http.Client{
	Transport: &http.Transport{
		DialContext:            dialLoopback,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxPointsHeaders,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func dialLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Control: checkLoopback}).DialContext(ctx, network, address)
}

func checkLoopback(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err == nil && !isLoopbackHost(host) {
		err = fmt.Errorf("%s is not a loopback address", host)
	}
	return err
}

func getPoint(ctx context.Context, location string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err
	}
	resp, err := loopbackClient.Do(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxCRL+1))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers with status %d", resp.StatusCode)
	}
	return b, nil
}
