//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A podSpec is the part of a pod's specification that a container runtime needs.
type podSpec struct {
	HostNetwork    bool        `yaml:"hostNetwork"`
	InitContainers []container `yaml:"initContainers"`
	Containers     []container `yaml:"containers"`
}

type container struct {
	Name            string          `yaml:"name"`
	Args            []string        `yaml:"args"`
	SecurityContext securityContext `yaml:"securityContext"`
	VolumeMounts    []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type securityContext struct {
	RunAsUser                int   `yaml:"runAsUser"`
	RunAsGroup               int   `yaml:"runAsGroup"`
	RunAsNonRoot             bool  `yaml:"runAsNonRoot"`
	ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
	AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
	Capabilities             struct {
		Drop []string `yaml:"drop"`
		Add  []string `yaml:"add"`
	} `yaml:"capabilities"`
}

// agentPod returns the pod of the DaemonSet in docs/deployment/kubernetes/agent.yaml, and the
// mapping of its ConfigMap.
func agentPod(t *testing.T) (pod podSpec, mapping string) {
	t.Helper()
	text, err := os.ReadFile("../docs/deployment/kubernetes/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var object struct {
			Kind string            `yaml:"kind"`
			Data map[string]string `yaml:"data"`
			Spec struct {
				Template struct {
					Spec podSpec `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		switch err := d.Decode(&object); {
		case errors.Is(err, io.EOF):
			if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 || mapping == "" {
				t.Fatalf("agent.yaml has the pod %+v and the mapping %q", pod, mapping)
			}
			return pod, mapping
		case err != nil:
			t.Fatal(err)
		case object.Kind == "DaemonSet":
			pod = object.Spec.Template.Spec
		case object.Kind == "ConfigMap":
			mapping = object.Data["pods.toml"]
		}
	}
}

// needsRunc skips a test where runc cannot run containers.
func needsRunc(t *testing.T) {
	t.Helper()
	needsRoot(t)
	for _, program := range []string{"runc", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			signertest.Skip(t, "runc", err)
		}
	}
}

// runcBundle writes the bundle of a container for runc: its root folder is that of the image, its
// settings are those of the manifest. A kubelet would also set RuntimeDefault's seccomp
// filter, which belongs to the runtime.
func runcBundle(t *testing.T, root, namespace string, c container, entrypoint, env []string, volumes map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("runc", "spec", "--bundle", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	var capabilities []string
	if !slices.Equal(c.SecurityContext.Capabilities.Drop, []string{"ALL"}) {
		t.Fatalf("%s keeps capabilities", c.Name)
	}
	for _, added := range c.SecurityContext.Capabilities.Add {
		capabilities = append(capabilities, "CAP_"+added)
	}
	// A process of another user than root gets no capability that is only in the bounding set.
	effective := capabilities
	if c.SecurityContext.RunAsUser != 0 {
		effective = nil
	}
	process := spec["process"].(map[string]any)
	maps.Copy(process, map[string]any{
		"terminal":        false,
		"user":            map[string]int{"uid": c.SecurityContext.RunAsUser, "gid": c.SecurityContext.RunAsGroup},
		"args":            slices.Concat(entrypoint, c.Args),
		"env":             slices.Concat(env, []string{"NODE_NAME=node-1"}),
		"noNewPrivileges": c.SecurityContext.AllowPrivilegeEscalation != nil && !*c.SecurityContext.AllowPrivilegeEscalation,
		"capabilities":    map[string][]string{"bounding": capabilities, "permitted": effective, "effective": effective},
	})
	spec["root"] = map[string]any{"path": root, "readonly": c.SecurityContext.ReadOnlyRootFilesystem}
	mounts := spec["mounts"].([]any)
	for _, m := range c.VolumeMounts {
		options := []string{"bind", "rw", "nosuid", "nodev"}
		if m.ReadOnly {
			options[1] = "ro"
		}
		source, ok := volumes[m.Name]
		if !ok {
			t.Fatalf("%s mounts the unknown volume %s", c.Name, m.Name)
		}
		mounts = append(mounts, map[string]any{"destination": m.MountPath, "type": "bind", "source": source, "options": options})
	}
	spec["mounts"] = mounts
	linux := spec["linux"].(map[string]any)
	for _, n := range linux["namespaces"].([]any) {
		if n := n.(map[string]any); n["type"] == "network" {
			n["path"] = "/run/netns/" + namespace // as with hostNetwork, that of the node
		}
	}
	if text, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPod runs the containers of the DaemonSet with runc in a network namespace, which takes
// the part of the node: the first one adds the addresses, and the second one listens there,
// as an unprivileged user without capabilities.
func TestPod(t *testing.T) {
	needsRunc(t)
	pod, mapping := agentPod(t)
	if !pod.HostNetwork {
		t.Fatal("the pod is not in the network of the node")
	}
	root, config := unpackImage(t, openImage(t))
	namespace := fmt.Sprintf("holdfast-%d", os.Getpid())
	command(t, "ip", "netns", "add", namespace)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", namespace).Run() })
	command(t, "ip", "-n", namespace, "link", "set", "lo", "up")

	ca := signertest.NewCA(t, "CA of the node")
	key := signertest.NewKey(t, "p256")
	leaf := ca.Issue(t, key, nil)
	volumes := map[string]string{}
	for volume, files := range map[string]map[string][]byte{
		"pods":       {"pods.toml": []byte(mapping)},
		"node":       {"cert.pem": signertest.CertPEM(leaf), "key.pem": signertest.KeyPEM(t, key)},
		"api-server": {"token": []byte("a.b.c"), "ca.crt": signertest.CertPEM(ca.Cert)},
		"state":      {},
		"tmp":        {},
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		user := pod.Containers[0].SecurityContext.RunAsUser
		command(t, "chown", "-R", fmt.Sprintf("%d:%d", user, user), dir)
		volumes[volume] = dir
	}
	env := append(config.Env, "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=1") // nobody listens there
	id := func(c container) string { return namespace + "-" + c.Name }
	run := func(c container) *exec.Cmd {
		t.Cleanup(func() { _ = exec.Command("runc", "delete", "--force", id(c)).Run() })
		return exec.Command("runc", "run", "--bundle", runcBundle(t, root, namespace, c, config.Entrypoint, env, volumes), id(c))
	}
	probe := container{Name: "probe", Args: []string{"version"}}
	probe.SecurityContext.Capabilities.Drop = []string{"ALL"}
	if out, err := run(probe).CombinedOutput(); err != nil { // a container on this machine may not start others
		signertest.Skip(t, "runc", fmt.Errorf("%w: %s", err, out))
	}
	for range 2 { // a pod that starts again finds the addresses
		if out, err := run(pod.InitContainers[0]).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", pod.InitContainers[0].Name, err, out)
		}
	}
	if out := command(t, "ip", "-n", namespace, "address", "show", "dev", "lo"); !strings.Contains(out, "169.254.170.23/32") || !strings.Contains(out, "fd00:ec2::23/128") {
		t.Errorf("the addresses of lo are\n%s", out)
	}

	agent := pod.Containers[0]
	if s := agent.SecurityContext; !s.RunAsNonRoot || s.RunAsUser == 0 || len(s.Capabilities.Add) > 0 || !s.ReadOnlyRootFilesystem {
		t.Errorf("the security context of the agent is %+v", s)
	}
	var log bytes.Buffer
	cmd := run(agent)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = exec.Command("runc", "kill", id(agent), "KILL").Run()
		<-ended
		if t.Failed() {
			t.Logf("the log of the agent:\n%s", &log)
		}
	})
	get := func(url string) (status int, body string, err error) {
		out, err := exec.Command("ip", "netns", "exec", namespace, "curl", "--noproxy", "*", "--silent", "--globoff", "--max-time", "10",
			"--write-out", "\n%{http_code}", url).Output()
		lines := strings.Split(string(out), "\n")
		_, _ = fmt.Sscan(lines[len(lines)-1], &status)
		return status, strings.Join(lines[:len(lines)-1], "\n"), err
	}
	for _, host := range []string{"169.254.170.23", "[fd00:ec2::23]"} {
		var status int
		var body string
		var err error
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			if status, body, err = get("http://" + host + ":2704/v1/credentials"); err == nil {
				break
			}
			select {
			case err := <-ended:
				ended <- err
				t.Fatalf("the agent ended: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		if err != nil || status != http.StatusBadRequest || !strings.Contains(body, `"Code"`) {
			t.Errorf("%s: a request without a token has status %d and the body %q, %v", host, status, body, err)
		}
	}
	statusURL := "http://" + flagOf(t, agent.Args, "--status-listen")
	if status, body, err := get(statusURL + "/readyz"); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("without AWS, /readyz has status %d and the body %q, %v", status, body, err)
	}
	if status, body, err := get(statusURL + "/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("/healthz has status %d and the body %q, %v", status, body, err)
	}
}

// flagOf returns the value of a flag in the arguments of a container.
func flagOf(t *testing.T, args []string, flag string) string {
	t.Helper()
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, flag+"="); ok {
			return value
		}
	}
	t.Fatalf("%q have no %s", args, flag)
	return ""
}

// command runs a program and returns its output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
