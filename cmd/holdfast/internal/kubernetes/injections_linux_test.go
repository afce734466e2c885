package kubernetes

import (
	"reflect"
	"testing"
)

// injections are the pods of the table test of the policies.
func injections() []injection {
	added := []string{tokenVolume}
	return []injection{
		{name: "no env, no volumes", namespace: "policy-in", pod: "metadata: {name: bare}\nspec: {containers: [{name: app, image: x}]}\n",
			injected: []string{"app"}, volumes: added, also: checkVolume},
		{name: "no token for the API server", namespace: "policy-in", injected: []string{"app"}, volumes: added, also: checkVolume, pod: `
metadata: {name: no-automount}
spec: {automountServiceAccountToken: false, containers: [{name: app, image: x}]}
`},
		{name: "a name that the server generates", namespace: "policy-in", injected: []string{"app"}, volumes: added, pod: `
metadata: {generateName: generated-}
spec: {containers: [{name: app, image: x}]}
`},
		{name: "env and volumes of its own", namespace: "policy-in", injected: []string{"app", "proxy"}, volumes: []string{"data", tokenVolume}, pod: `
metadata: {name: own, annotations: {other: annotation}}
spec:
  serviceAccountName: app
  containers:
  - {name: app, image: x, env: [{name: OWN, value: "1"}], volumeMounts: [{name: data, mountPath: /data}]}
  - {name: proxy, image: x}
  volumes: [{name: data, emptyDir: {}}]
`, also: func(t *testing.T, p pod) {
			app := p.Spec.Containers[0]
			if !reflect.DeepEqual(app.values("OWN"), []string{"1"}) || app.VolumeMounts[0].MountPath != "/data" {
				t.Errorf("what it had is not there: %+v", app)
			}
		}},
		{name: "valueFrom", namespace: "policy-in", injected: []string{"app"}, volumes: added, pod: `
metadata: {name: value-from}
spec:
  containers:
  - {name: app, image: x, env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}], envFrom: [{configMapRef: {name: settings}}]}
`, also: func(t *testing.T, p pod) {
			if e := p.Spec.Containers[0].Env[0]; e.Name != "NODE" || len(e.ValueFrom) == 0 {
				t.Errorf("%+v", e)
			}
		}},
		{name: "a variable twice", namespace: "policy-in", injected: []string{"app"}, volumes: added, pod: `
metadata: {name: twice}
spec:
  containers:
  - {name: app, image: x, env: [{name: A, value: "1"}, {name: B, value: "$(A)"}, {name: A, value: "2"}]}
`, also: func(t *testing.T, p pod) {
			// The last one counts.
			if values := p.Spec.Containers[0].values("A"); len(values) == 0 || values[len(values)-1] != "2" {
				t.Errorf("A is %v", values)
			}
		}},
		{name: "command and args", namespace: "policy-in", injected: []string{"app"}, volumes: added, pod: `
metadata: {name: command}
spec: {containers: [{name: app, image: x, command: [/app, "$(HOME)"], args: [--verbose, ""]}]}
`, also: func(t *testing.T, p pod) {
			if app := p.Spec.Containers[0]; !reflect.DeepEqual(app.Command, []string{"/app", "$(HOME)"}) || !reflect.DeepEqual(app.Args, []string{"--verbose", ""}) {
				t.Errorf("%+v", app)
			}
		}},
		{name: "init containers and native sidecars", namespace: "policy-in", injected: []string{"setup", "sidecar", "app"}, volumes: added, pod: `
metadata: {name: init}
spec:
  initContainers:
  - {name: setup, image: x}
  - {name: sidecar, image: x, restartPolicy: Always}
  containers: [{name: app, image: x}]
`, also: func(t *testing.T, p pod) {
			if init := p.Spec.InitContainers; init[0].RestartPolicy != "" || init[1].RestartPolicy != "Always" {
				t.Errorf("%+v", init)
			}
		}},
		{name: "a container with a URL of its own", namespace: "policy-in", injected: []string{"app"}, volumes: added, pod: `
metadata: {name: other-url}
spec:
  containers:
  - {name: app, image: x}
  - {name: other, image: x, env: [{name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: "http://127.0.0.1:9911/credentials"}]}
`},
		{name: "an init container with a token of its own", namespace: "policy-in", injected: []string{"app"}, volumes: added, pod: `
metadata: {name: other-token}
spec:
  initContainers: [{name: other, image: x, env: [{name: AWS_CONTAINER_CREDENTIALS_FULL_URI, valueFrom: {configMapKeyRef: {name: a, key: b}}}]}]
  containers: [{name: app, image: x}]
`},
		{name: "skipped", namespace: "policy-in", pod: skippedPod},
		{name: "by hand", namespace: "policy-in", pod: manualPod, injected: []string{"app"}, volumes: added, also: checkVolume},
		// This is what the policy sees when a webhook has added a container.
		{name: "the volume is there, a container is new", namespace: "policy-in", injected: []string{"app", "late"}, volumes: added, also: checkVolume, pod: `
metadata: {name: late}
spec:
  containers:
  - name: app
    image: x
    env:
    - {name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: "http://169.254.170.23:2704/v1/credentials"}
    - {name: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, value: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token}
    volumeMounts:
    - {name: eks-pod-identity-token, mountPath: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount, readOnly: true}
  - {name: late, image: x}
  volumes:
  - name: eks-pod-identity-token
    projected:
      sources:
      - serviceAccountToken: {audience: pods.eks.amazonaws.com, expirationSeconds: 86400, path: eks-pod-identity-token}
`},
		{name: "no label", namespace: "policy-out", pod: plainPod},
		{name: "another value of the label", namespace: "policy-off", pod: plainPod},
	}
}

// checkVolume: the volume has one token, for the agent and for a day.
func checkVolume(t *testing.T, p pod) {
	for _, v := range p.Spec.Volumes {
		if v.Name != tokenVolume {
			continue
		}
		if v.Projected == nil || len(v.Projected.Sources) != 1 || v.Projected.Sources[0].ServiceAccountToken == nil {
			t.Fatalf("%+v", v)
		}
		if token := *v.Projected.Sources[0].ServiceAccountToken; token.Audience != "pods.eks.amazonaws.com" || token.Path != tokenVolume || token.ExpirationSeconds != 86400 {
			t.Errorf("%+v", token)
		}
	}
}
