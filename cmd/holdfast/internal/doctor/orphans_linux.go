package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of processes that modules leave, also
// in a session of their own; see PR_SET_CHILD_SUBREAPER(2const). end kills those
// that were started since then, except a child that ended, but that somebody still
// waits for; 0: none. No other child may run during end.
func adoptOrphans() (end func(except int)) {
	if unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		return func(int) {}
	}
	before := make(map[int]bool)
	for pid, p := range processes() {
		before[pid] = p.parent == os.Getpid()
	}
	return func(except int) {
		const rounds, pause = 20, 5 * time.Millisecond // a process can start others meanwhile; a hung driver keeps a killed one
		for range rounds {
			all := processes()
			alive := false
			for pid, p := range all {
				if before[pid] || pid == except || !descends(all, pid, before) {
					continue
				}
				if !p.ended {
					alive = true
					_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
				}
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // or its parent waits for it
			}
			if !alive {
				return
			}
			time.Sleep(pause)
		}
	}
}

// awaitExit returns when a child ends, and leaves it to another call to wait for it.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// A process is an entry of /proc.
type process struct {
	parent int
	ended  bool // but nobody has waited for it
}

// processes returns the processes that are visible.
func processes() map[int]process {
	found := make(map[int]process)
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid
	for _, name := range files {
		data, err := os.ReadFile(name)
		pid, pidErr := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:]) // the name before it can contain anything
		if err != nil || pidErr != nil || len(fields) < 2 {
			continue // the process has ended
		}
		parent, _ := strconv.Atoi(string(fields[1])) // proc(5): a number
		found[pid] = process{parent, fields[0][0] == 'Z' || fields[0][0] == 'X'}
	}
	return found
}

// descends reports whether this process is an ancestor of pid, and no process in
// except is between them.
func descends(all map[int]process, pid int, except map[int]bool) bool {
	for range len(all) { // pids can be used again meanwhile
		pid = all[pid].parent
		switch {
		case pid == os.Getpid():
			return true
		case pid == 0, except[pid]:
			return false
		}
	}
	return false
}
