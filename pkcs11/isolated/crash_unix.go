//go:build (darwin || linux) && (amd64 || arm64)

package isolated

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/binding"
)

// endBySignal makes a crash of the module end the process by its signal, so that the
// program that started it can say which one. Otherwise the Go runtime would end it with a
// trace of its goroutines. It also makes the process survive the signals that end the
// program: the end of standard input is what ends it, after the program has finished.
func endBySignal() error {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGQUIT)
	return binding.DefaultSignals(syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGABRT, syscall.SIGTRAP)
}
