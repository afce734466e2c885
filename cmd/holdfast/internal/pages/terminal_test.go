//go:build linux

package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// servers are the commands that run until the reader ends them. Each is ready when
// it has printed a line with a text, and gets further arguments here.
var servers = []struct{ command, ready, args string }{
	{"holdfast emulator ", "listening on ", "--listen 127.0.0.1:9910"},
	{"openssl cmp -port ", "ACCEPT ", ""},
}

// secondTerminal returns a script that runs the server of a block in the
// background, in the place of the one before it, and goes on when it is ready. It
// returns "" for any other block.
func secondTerminal(code string) string {
	for _, s := range servers {
		if strings.HasPrefix(code, s.command) && strings.Count(code, "\n") == 1 && !strings.Contains(code, "&") {
			if code, file, ok := strings.Cut(code, " >"); ok { // what it prints is in a file
				return endSecondTerminal + fmt.Sprintf(`rm -f %[3]s
%[1]s %[2]s >%[3]s &
second=$!
until grep -q -F '%[4]s' %[3]s 2>/dev/null; do kill -0 $second; sleep 0.1; done
`, strings.TrimSpace(code), s.args, strings.TrimSpace(file), s.ready)
			}
			return endSecondTerminal + fmt.Sprintf(`rm -f second-terminal && mkfifo second-terminal
%s %s >second-terminal &
second=$!
exec 3<second-terminal
while read -r line <&3; do case $line in '%s'*) break ;; esac; done
`, strings.TrimSpace(code), s.args, s.ready)
		}
	}
	return ""
}

// endSecondTerminal ends what runs in the second terminal, if anything.
const endSecondTerminal = `
if test -n "${second-}"; then kill "$second"; wait "$second" || true; fi
`

// isError reports whether a block is the error of the block before it.
func isError(kind, text string) bool { return kind == "text" && strings.HasPrefix(text, "holdfast: ") }

// failing returns a script that runs a block, which must fail with an error. An
// ellipsis in its text stands for anything.
func failing(code, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "if {\n%s} 2>error; then exit 1; fi\ncat error >&2\n", code)
	for line := range strings.Lines(text) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "…") {
			if part == "" {
				continue
			}
			fmt.Fprintf(&b, "grep -q -F -e '%s' error\n", part)
		}
	}
	return b.String()
}

// end ends a process in the background that the page would have ended.
func (r *reader) end(pidFile string) {
	text, err := os.ReadFile(filepath.Join(r.dir, pidFile))
	if err != nil {
		return // it has ended
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
