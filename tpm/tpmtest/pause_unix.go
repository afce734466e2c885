//go:build unix

package tpmtest

import "syscall"

// Pause makes the TPM stop to answer until Resume. Connections are still accepted, by
// the kernel.
func (t *TPM) Pause() error { return t.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets the TPM answer again.
func (t *TPM) Resume() error { return t.cmd.Process.Signal(syscall.SIGCONT) }
