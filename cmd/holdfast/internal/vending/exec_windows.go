package vending

import "os"

// forwardedSignals are the signals that exec keeps from ending itself.
var forwardedSignals = []os.Signal{os.Interrupt}

// sentByTerminal reports whether the child was given a signal, too: a console
// gives Ctrl-C to all its processes.
func sentByTerminal(os.Signal) bool { return true }

func exitCode(s *os.ProcessState) int { return s.ExitCode() }
