//go:build unix

package doctor_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
)

// workloadAPI runs a Workload API with one SVID, whose certificate mutate can change.
func workloadAPI(mutate func(*x509.Certificate), change func(*spiffetest.Server)) func(*scene) {
	return func(s *scene) {
		api := spiffetest.Start(s, spiffetest.Issue(s, s.ca, "p256", "spiffe://example.org/app", mutate))
		s.env = append(s.env, api.Variable())
		if change != nil {
			change(api)
		}
	}
}

func TestSPIFFE(t *testing.T) {
	const args = "--private-key spiffe: " + sessionFlags
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		c := setup{args: args, prepare: workloadAPI(nil, nil)}
		r := preparedScene(t, c).checkGood(c)
		for check, seen := range map[string]string{"key": "opened spiffe: (backend spiffe): ECDSA P-256", "tags": "x509SAN/URI=spiffe://example.org/app"} {
			if lines := r.of(check); len(lines) != 1 || !strings.Contains(lines[0].Seen, seen) {
				t.Errorf("%s: %+v", check, lines)
			}
		}
	})
	for _, c := range []setup{
		{name: "no API", args: args, check: "key", seen: "SPIFFE_ENDPOINT_SOCKET is not set", command: "holdfast list --in spiffe:", code: 5},
		{name: "API that has ended", args: args, prepare: workloadAPI(nil, func(s *spiffetest.Server) { s.Stop() }), check: "key", seen: "no such file", command: "ls -l /", code: 5},
		{name: "no identity", args: args, prepare: workloadAPI(nil, func(s *spiffetest.Server) { s.Refuse(spiffetest.PermissionDenied) }), check: "key", seen: "no identity for this process", command: "holdfast list", code: 3},
		{name: "empty subject", args: args, prepare: workloadAPI(func(c *x509.Certificate) { c.Subject = pkix.Name{} }, nil), check: "rules", seen: "its subject is empty, and Roles Anywhere needs one", command: "holdfast list", code: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := preparedScene(t, c).examine(c)
			l, found := r.first("fault")
			if !found || l.Check != c.check || !strings.Contains(l.Seen, c.seen) || !strings.Contains(l.Command, c.command) || r.Code != c.code {
				t.Errorf("%+v, code %d\n%s", l, r.Code, r.raw)
			}
			t.Logf("%+v", l)
		})
	}
}
