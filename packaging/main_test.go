package main

import "testing"

func TestRefuseVersion(t *testing.T) {
	for version, good := range map[string]bool{
		"": true, "v0.1.0": true, "v1.2.3-rc.1": true, "v0.0.0-20260101000000-abcdef123456+dirty": true,
		"0.1.0": false, "v1": false, "v0.1.0/../../x": false, "v0.1.0-a/b": false, "v0.1.0 -extld=x": false, "v0.1.0\n": false,
	} {
		if err := refuseVersion(version); (err == nil) != good {
			t.Errorf("%q: %v", version, err)
		}
	}
}
