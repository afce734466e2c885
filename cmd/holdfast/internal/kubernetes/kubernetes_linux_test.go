package kubernetes

import (
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// TestCluster runs all tests that need an API server with one, because starting it takes
// seconds. They may not change what another of them sees.
func TestCluster(t *testing.T) {
	c := startCluster(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"policies": testPolicies,
		"chart":    testChart,
		"page":     testPage,
		"kubelet":  testKubelet,
		"agent":    testAgent,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}
