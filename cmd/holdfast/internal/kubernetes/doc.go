// Package kubernetes has the tests with a real API server of Kubernetes: the policies, the
// manifests and the chart that this repository contains, the YAML of docs/kubernetes.md,
// and "holdfast agent". No kubelet and no network plugin runs.
package kubernetes
