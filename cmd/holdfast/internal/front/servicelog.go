package front

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// A LogFormat is the format of the log of a service: text or json.
type LogFormat string

// Add adds the flag of the format.
func (f *LogFormat) Add(fs *pflag.FlagSet) {
	fs.StringVar((*string)(f), "log-format", "text", "`format` of the log on standard error: text or json")
	MarkValues(fs.Lookup("log-format"), "text", "json")
}

// Check returns an error for any other format.
func (f LogFormat) Check() error {
	if f != "text" && f != "json" {
		return Usagef("--log-format %q is neither text nor json", string(f))
	}
	return nil
}

// Open returns a log to w that does not wait for its reader; see [LogWriter]. The
// caller calls end after the last record.
func (f LogFormat) Open(w io.Writer, debug bool) (log *slog.Logger, end func()) {
	direct := f.New(w, debug)
	queued := NewLogWriter(w, func(n int) { direct.Warn(DroppedLines, "count", n) })
	return f.New(queued, debug), func() { _ = queued.Close() }
}

// New returns a structured log. Its hints name flags instead of Go fields, as the
// error messages of commands do.
func (f LogFormat) New(w io.Writer, debug bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: HintAttr}
	if debug {
		opts.Level = slog.LevelDebug
	}
	if f == "json" {
		return slog.New(HintHandler{slog.NewJSONHandler(JSONWriter{W: w}, opts)})
	}
	return slog.New(HintHandler{slog.NewTextHandler(w, opts)})
}
