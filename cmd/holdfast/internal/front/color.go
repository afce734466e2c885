package front

import (
	"os"
	"runtime"

	"golang.org/x/term"
)

// Colors reports whether standard output is a terminal that shows colors, and the
// user has not turned them off with NO_COLOR (https://no-color.org) or TERM=dumb.
// It is false on Windows, where an old console prints the control sequences.
func (a App) Colors() bool {
	out, ok := a.Stdout.(*output)
	if !ok {
		return false
	}
	file, ok := out.w.(*os.File)
	return ok && runtime.GOOS != "windows" && a.Env("NO_COLOR") == "" && a.Env("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}
