package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A secured has the fields of a container that say what it may do.
type secured struct {
	Name            string
	Args            []string
	SecurityContext struct {
		RunAsUser, RunAsGroup                            int
		ReadOnlyRootFilesystem, AllowPrivilegeEscalation bool
		Capabilities                                     struct{ Add, Drop []string }
	}
	VolumeMounts []struct {
		Name, MountPath string
		ReadOnly        bool
	}
	Resources struct{ Limits struct{ Memory string } }
}

// testContainer runs both containers of the DaemonSet in agent.yaml by runc: with their
// arguments, users, capabilities, volumes and memory, and a read-only root folder that has
// only the program. The servers are named by variables, and the key is in a file.
func testContainer(t *testing.T, c *cluster, n *node, token string) {
	signertest.Require(t, "runc", "runc")
	if groups, _ := filepath.Glob("/sys/fs/cgroup/*"); len(groups) == 0 {
		signertest.Skip(t, "runc", errors.New("there are no control groups"))
	}
	var daemon struct {
		Spec struct{ InitContainers, Containers []secured }
	}
	if err := json.Unmarshal([]byte(c.agentPod(t)), &daemon); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "root", "holdfast"), root+"/cmd/holdfast")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	volume := func(name string, files map[string]string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, source := range files {
			data, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name, file)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, 65532, 65532); err != nil {
				t.Fatal(err)
			}
		}
	}
	volume("pods", map[string]string{"pods.toml": n.path("pods.toml")})
	volume("node", map[string]string{"cert.pem": n.path("file.pem"), "key.pem": n.path("other.key")})
	volume("api-server", map[string]string{"token": n.path("token"), "ca.crt": c.path("ca.pem")})
	volume("state", nil)
	volume("tmp", nil)
	for _, name := range []string{"state", "tmp"} { // as an emptyDir is
		if err := os.Chmod(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"169.254.170.23/32", "fd00:ec2::23/128"} {
		n.host.ip(t, "address", "delete", address, "dev", "lo")
	}
	if out, err := n.runc(t, c, dir, daemon.Spec.InitContainers[0]).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := n.runc(t, c, dir, daemon.Spec.Containers[0])
	n.await(t, cmd)
	if status, answer := n.ask(t, n.pod, agentV4, token); status != http.StatusOK || answer.AccessKeyID == "" {
		t.Errorf("%d %+v", status, answer)
	}
	if info, err := os.Stat(filepath.Join(dir, "state/session")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the session was not saved: %v, %v", info, err)
	}
}

// runc returns a command that runs a container in the network of the node. dir has the
// folders root and one for each volume.
func (n *node) runc(t *testing.T, c *cluster, dir string, container secured) *exec.Cmd {
	t.Helper()
	apiServer, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	security := container.SecurityContext
	if !slices.Equal(security.Capabilities.Drop, []string{"ALL"}) || security.AllowPrivilegeEscalation {
		t.Errorf("%s may %+v", container.Name, security)
	}
	var capabilities []string
	for _, capability := range security.Capabilities.Add {
		capabilities = append(capabilities, "CAP_"+capability)
	}
	mounts := []map[string]any{{"destination": "/proc", "type": "proc", "source": "proc"}}
	for _, m := range container.VolumeMounts {
		options := []string{"bind", "nosuid", "nodev", "rw"}
		if m.ReadOnly {
			options[3] = "ro"
		}
		mounts = append(mounts, map[string]any{"destination": m.MountPath, "type": "bind", "source": filepath.Join(dir, m.Name), "options": options})
		// A runtime makes them in the image before it becomes read-only.
		if err := os.MkdirAll(filepath.Join(dir, "root", m.MountPath), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "root", "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	var limit int64
	if _, err := fmt.Sscanf(container.Resources.Limits.Memory, "%dMi", &limit); err != nil {
		t.Fatalf("%s: %v", container.Resources.Limits.Memory, err)
	}
	config, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": filepath.Join(dir, "root"), "readonly": security.ReadOnlyRootFilesystem},
		"mounts":     mounts,
		"process": map[string]any{
			"user": map[string]int{"uid": security.RunAsUser, "gid": security.RunAsGroup},
			"args": append([]string{"/holdfast"}, container.Args...),
			"cwd":  "/",
			"env": []string{"NODE_NAME=agent-1", "AWS_ENDPOINT_URL=" + n.emulator,
				"KUBERNETES_SERVICE_HOST=" + apiServer.Hostname(), "KUBERNETES_SERVICE_PORT=" + apiServer.Port()},
			"noNewPrivileges": true,
			"capabilities":    map[string]any{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		"linux": map[string]any{
			"namespaces": []map[string]string{{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network", "path": "/run/netns/" + n.host.name}},
			"resources":  map[string]any{"memory": map[string]int64{"limit": limit << 20}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, container.Name)
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("holdfast-%s-%d", container.Name, os.Getpid())
	t.Cleanup(func() { _ = exec.Command("runc", "delete", "--force", id).Run() })
	return exec.CommandContext(context.WithoutCancel(t.Context()), "runc", "run", "--bundle", bundle, id)
}
