package doctor

import "strings"

// workloadVariable names the SPIFFE Workload API, as of package keystore/spiffe.
const workloadVariable = "SPIFFE_ENDPOINT_SOCKET"

// listWorkloadAPI returns r, the fault of a SPIFFE Workload API that cannot be used, with a
// command that shows whether its socket is there.
func (p *patient) listWorkloadAPI(r result) result {
	if path, ok := strings.CutPrefix(p.Env(workloadVariable), "unix://"); ok {
		return r.with("ls", "-l", path)
	}
	return r.with("holdfast", "list", "--in", p.key.Name())
}
