package stepcatest

import "testing"

// TestBuild builds step-ca, or fails with the reason.
func TestBuild(t *testing.T) { Build(t) }
