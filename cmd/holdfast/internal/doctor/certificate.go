package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkChain compares the chain with the trust anchor, if its certificates are
// given.
func checkChain(_ context.Context, p *patient) (results []result) {
	for _, reason := range rolesanywhere.UnusedIssuers(p.certs, p.Now()) {
		r := failure(reason)
		r.State, r.code = warning, 0
		results = append(results, r.with("holdfast", "list", "--in", p.key.CertificateName()))
	}
	chain := p.certs.Chain
	var names []string
	for _, c := range chain {
		names = append(names, fmt.Sprintf("%q", c.Subject))
	}
	top := fmt.Sprintf("%q", chain[len(chain)-1].Issuer)
	if p.trustAnchor == "" {
		return append(results, fine("%s ← %s: the trust anchor must contain %[2]s, or a CA above it if you also send the certificates in between; to check, add --trust-anchor FILE", strings.Join(names, " ← "), top))
	}
	anchor, err := readAnchor(p.trustAnchor)
	if err == nil {
		err = rolesanywhere.CheckTrust(p.certs, anchor, p.Now())
	}
	if err == nil {
		return append(results, fine("%s ← %s, which %s contains", strings.Join(names, " ← "), top, p.trustAnchor))
	}
	r := failure(err)
	if url := slices.Concat(chain[len(chain)-1].IssuingCertificateURL, []string{""})[0]; url != "" && anchor != nil {
		name := newFile("issuer.cer")
		return []result{r.paste(command("curl", "-so", name, url) + " && " + p.again("--intermediates", name))}
	}
	if p.hasConfig {
		return []result{r.with(getAnchor(p.config)...)}
	}
	return []result{r.tool("openssl x509 -in FILE -noout -subject -issuer -dates", p.trustAnchor)}
}

// getAnchor returns the command that shows the CA certificates of the trust anchor.
func getAnchor(c rolesanywhere.Config) []string {
	return asAdmin("aws", "rolesanywhere", "get-trust-anchor", "--region", c.TrustAnchorRegion(), "--trust-anchor-id", path.Base(c.TrustAnchorARN),
		"--query", "trustAnchor.source.sourceData.x509CertificateData", "--output", "text")
}

// readAnchor reads the CA certificates of a trust anchor.
func readAnchor(name string) (certs []*x509.Certificate, err error) {
	data, err := keystore.ReadFile(name, keystore.MaxInput)
	if err != nil {
		return nil, fmt.Errorf("--trust-anchor %s: %w", name, err)
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("--trust-anchor %s: %w", name, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("--trust-anchor %s: contains no PEM certificate", name)
	}
	return certs, nil
}

// checkRules checks the rules of Roles Anywhere for the certificate.
func checkRules(ctx context.Context, p *patient) (results []result) {
	leaf := p.certs.Chain[0]
	for _, problem := range rolesanywhere.Problems(leaf, p.Now()) {
		r := failure(problem)
		r.code = front.ExitOther
		tooEarly := leaf.NotBefore.After(p.Now()) && strings.Contains(r.Seen, "not valid before")
		switch agrees := (tooEarly || leaf.NotAfter.Before(p.Now())) && p.clockAgrees(ctx); {
		case tooEarly && agrees:
			r.Hint = "wait until " + leaf.NotBefore.UTC().Format(time.RFC3339) + ", or have a certificate issued that is valid now"
		case tooEarly:
			results = append(results, r.paste(clockCommand()))
			continue
		case agrees && strings.Contains(r.Seen, "expired at"):
			r.Hint = ""
		}
		results = append(results, p.reissue(r, leaf))
	}
	if len(results) == 0 {
		results = append(results, fine("version 3, not a CA, digitalSignature, signed with %s, subject %q, valid now", certpath.SignatureName(leaf), leaf.Subject))
	}
	return results
}

// reissue returns r with a command that requests a new certificate for the key,
// if it is in a file.
func (p *patient) reissue(r result, leaf *x509.Certificate) result {
	files := p.key.KeyFiles(p.App)
	subject := opensslSubject(leaf)
	if len(files) > 0 {
		if data, err := keystore.ReadFile(files[0], keystore.MaxInput); err == nil && !keystore.ContainsPrivateKey(data) {
			files = nil // the certificate, without a key
		}
	}
	if len(files) == 0 {
		return r.with("holdfast", "list")
	}
	name := newFile("new.csr")
	told := "the command writes " + name + "; have your CA issue a certificate for it, with keyUsage digitalSignature"
	if pki.CheckMLDSA(signer.PublicKeyOf(leaf)) != nil {
		told = openssl35 + ", and writes " + name + "; have your CA issue a certificate for it, with keyUsage digitalSignature"
	}
	if r.Hint != "" {
		told = r.Hint + "; " + told
	}
	return r.because(told).tool("openssl req -new -key FILE -subj NAME -addext keyUsage=critical,digitalSignature -out PATH", files[0], subject, name)
}

// opensslSubject returns the subject of a certificate in the form of -subj.
func opensslSubject(c *x509.Certificate) string {
	cn := c.Subject.CommonName
	if cn == "" {
		cn = "NAME"
	}
	return "/CN=" + strings.NewReplacer("/", `\/`, "+", `\+`).Replace(front.OneLine(cn))
}

// checkTags shows the session tags that the role's policies will see.
func checkTags(_ context.Context, p *patient) (results []result) {
	leaf := p.certs.Chain[0]
	tags, bad := trustpolicy.SessionTags(leaf)
	for _, field := range slices.Sorted(maps.Keys(bad)) {
		r := failed(front.ExitOther, "%s of %s in the certificate: session tags do not allow its characters or its length", strings.Join(bad[field], ", "), field).
			because("tags may contain up to 256 letters, digits, spaces and _.:/=+-@; change the name, or remove the attribute from the profile's mapping, which also removes it from the sessions of all other certificates of the profile: trust policies that require it then refuse them")
		results = append(results, r.paste(p.unmapCommand(field, bad[field])))
	}
	if len(results) > 0 {
		return results
	}
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		shown = append(shown, name+"="+tags[name])
	}
	return []result{fine("%s; source identity %s", strings.Join(shown, ", "), trustpolicy.SourceIdentity(leaf))}
}

// unmapCommand returns the command that removes attributes from the mapping of
// the profile.
func (p *patient) unmapCommand(field string, names []string) string {
	line := []string{"aws", "rolesanywhere", "delete-attribute-mapping", "--region", p.config.TrustAnchorRegion(), "--profile-id", path.Base(p.config.ProfileARN), "--certificate-field", field, "--specifiers"}
	for _, n := range names {
		specifier, _, _ := strings.Cut(n, "/") // without the number of the kind of name
		line = append(line, specifier)
	}
	return command(asAdmin(line...)...)
}

// renewalPart is the part of a certificate's lifetime that is usually left when it
// is renewed.
const renewalPart = 3

// checkRenewal checks that the key allows the renewal that the role has, and compares
// the end of the certificates with the usual time of a renewal.
func checkRenewal(_ context.Context, p *patient) []result {
	if err := renew.CheckKey(signer.PublicKeyOf(p.certs.Chain[0])); p.renews && err != nil {
		return []result{p.reissue(failure(err), p.certs.Chain[0])}
	}
	now := p.Now()
	for i, c := range p.certs.Chain {
		what := "the certificate"
		if i > 0 {
			what = fmt.Sprintf("the intermediate certificate %q", c.Subject)
		}
		left, life := c.NotAfter.Sub(now), c.NotAfter.Sub(c.NotBefore)
		end := c.NotAfter.UTC().Format(time.RFC3339)
		switch {
		case left <= 0 && i == 0:
			return []result{skip("it expired at %s; see rules", end)}
		case left <= 0:
			return []result{p.certificateCommand(warn("%s expired at %s, and is not sent", what, end)).because("get a new one from the CA; you do not need it if the trust anchor contains the CA that issued your certificate")}
		case left < life/renewalPart:
			if i > 0 {
				return []result{p.certificateCommand(warn("%s expires at %s: less than a third of its lifetime is left", what, end)).because("get a new one from the CA")}
			}
			return []result{p.reissue(warn("%s expires at %s: less than a third of its lifetime is left", what, end).because("renew it, or check that its renewal works"), p.certs.Chain[0])}
		}
	}
	leaf := p.certs.Chain[0]
	return []result{fine("the certificate expires at %s; renew it from %s on", leaf.NotAfter.UTC().Format(time.RFC3339),
		leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore)/renewalPart).UTC().Format(time.RFC3339))}
}
