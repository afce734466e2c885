package issuing_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
)

// The CA is killed again and again, at any time. In the end each request has one
// answer, which is what the same request gets for ever.
func TestKilledRenewals(t *testing.T) {
	const requests, kills = 40, 15
	dir := newCA(t)
	folder := filepath.Join(dir, "requests")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	way := dropfolder.Way{Dir: folder}
	all := make([]renew.Request, requests)
	asked := make(map[string]bool)
	place := func(r renew.Request) {
		asked[string(r.CSR)+r.Token] = true
		if _, err := way.Renew(t.Context(), r); !errors.As(err, new(*renew.WaitError)) {
			t.Fatal(err)
		}
	}
	certificate := func(i int) string { return fmt.Sprintf("cert-%d.pem", i) }
	for i := range all {
		mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--out", certificate(i))
		all[i] = signedRequest(t, dir, certificate(i), "app.pem")
		all[i].Token = fmt.Sprintf("machine-%d", i)
		place(all[i])
	}
	start := time.Now()
	place(renew.Request{Old: all[0].Old, CSR: all[0].CSR, Token: "first"})
	mustRun(t, dir, "ca", "issue", "--renew-folder", "requests", "--allow-expired", "1h", "--json") // how long it takes
	usual := time.Since(start)
	random := rand.New(rand.NewPCG(3, 5))
	killed := 0
	for round := 0; killed < kills; round++ {
		for i := range all { // as machines that lost their answers, and new ones
			if err := os.Remove(filepath.Join(folder, all[i].Token+".pem")); err != nil {
				t.Fatal(err)
			}
			if (i+round)%2 == 0 {
				all[i].CSR = signedRequest(t, dir, certificate(i), "app.pem").CSR
			}
			place(all[i])
		}
		for again := true; again; {
			_, dead, err := runIn(t, dir, 1+time.Duration(random.Int64N(int64(usual))), "ca", "issue", "--renew-folder", "requests")
			if err != nil {
				t.Fatal(err)
			}
			if again = dead; dead {
				killed++
			}
		}
	}
	t.Logf("%d kills", killed)
	answers := make(map[string]bool)
	for _, r := range all {
		certs, err := way.Renew(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		message, err := r.Signed(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "again.p7"), message, 0o600); err != nil {
			t.Fatal(err)
		}
		again := mustRun(t, dir, "ca", "issue", "--renew", "again.p7")
		if block, _ := pem.Decode([]byte(again)); block == nil || !bytes.Equal(block.Bytes, certs[0].Raw) || answers[again] {
			t.Errorf("%s: another certificate, or that of another request", r.Token)
		}
		answers[again] = true
	}
	settle(t, dir, "ca")
	var list []struct{ Serial, State, Renews string }
	if err := json.Unmarshal([]byte(mustRun(t, dir, "ca", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	valid := 0
	for _, c := range list {
		if c.State == "valid" && c.Renews != "" {
			valid++
		}
	}
	if valid != len(asked) {
		t.Errorf("%d certificates for %d requests", valid, len(asked))
	}
	t.Logf("%d renewals in the index, %d of them interrupted", len(list)-requests, len(list)-requests-valid)
}
