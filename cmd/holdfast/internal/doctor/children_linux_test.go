package doctor_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// atOnce is the source of a module that waits until all three modules are being
// loaded.
const atOnce = `#include <fcntl.h>
#include <unistd.h>
unsigned long C_GetFunctionList(void **list) {
	close(open("DIR/loading.NAME", O_CREAT | O_WRONLY, 0600));
	while (access("DIR/loading.a", F_OK) || access("DIR/loading.b", F_OK) || access("DIR/loading.c", F_OK)) usleep(1000);
	return 5;
}`

// The modules of a key and its certificates are tried at the same time, so that
// several slow ones take no longer than one.
func TestModulesAtOnce(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	s := newScene(t)
	for _, name := range []string{"a", "b", "c"} {
		s.write(name+".c", strings.NewReplacer("DIR", s.dir, "NAME", name).Replace(atOnce))
		s.tool(cc, "-shared", "-fPIC", "-w", "-o", name+".so", name+".c")
	}
	args := "--private-key pkcs11:token=x;object=k?module-path={dir}/a.so --certificate pkcs11:token=x;object=k?module-path={dir}/b.so" +
		" --intermediates pkcs11:token=x?module-path={dir}/c.so " + sessionFlags
	for _, l := range s.examine(setup{args: args + patient}).Checks {
		if strings.Contains(l.Seen, "did not answer") {
			t.Errorf("%+v", l)
		}
	}
}

// leaves is the source of a module that starts a process in a session of its own.
const leaves = `#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
unsigned long C_GetFunctionList(void **list) {
	int ready[2]; char c;
	pipe(ready);
	if (fork() == 0) {
		setsid();
		if (fork()) _exit(0);
		int f = open("DIR/pids", O_CREAT | O_WRONLY | O_APPEND, 0600);
		dprintf(f, "%d\\n", getpid());
		write(ready[1], "x", 1);
		for (;;) pause();
	}
	read(ready[0], &c, 1);
	RETURN;
}`

// What a module starts ends with doctor, whether the module works or hangs.
func TestProcessesOfModules(t *testing.T) {
	cc := signertest.Require(t, "cc", "cc")
	for name, c := range map[string]struct{ end, flags string }{
		"refuses": {"return 5", patient},
		"hangs":   {"for (;;) pause()", ""},
		"crashes": {"abort()", patient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.write("m.c", strings.NewReplacer("DIR", s.dir, "RETURN", c.end).Replace(leaves))
			s.tool(cc, "-shared", "-fPIC", "-w", "-o", "m.so", "m.c")
			var pids []byte
			for limit := 2 * time.Second; len(pids) == 0 && limit < 5*time.Minute; limit *= 2 { // until it is long enough to load the module
				flags := c.flags
				if flags == "" {
					flags = " --module-timeout " + limit.String()
				}
				s.examine(setup{args: "--certificate {dir}/cert.pem --private-key pkcs11:token=x;object=k?module-path={dir}/m.so " + sessionFlags + flags})
				pids, _ = os.ReadFile(s.path("pids")) // or the module was not loaded
			}
			if len(pids) == 0 {
				t.Fatal("the module was never loaded")
			}
			for _, pid := range strings.Fields(string(pids)) {
				stat, err := os.ReadFile("/proc/" + pid + "/stat")
				if err == nil && !bytes.Contains(stat, []byte(") Z ")) {
					t.Errorf("process %s is left: %s", pid, stat)
				}
			}
		})
	}
}
