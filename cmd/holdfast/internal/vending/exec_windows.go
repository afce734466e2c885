package vending

import "os"

// passedOn are the signals that exec keeps from ending itself.
var passedOn = []os.Signal{os.Interrupt}

// hasItAlready reports whether the child was given a signal, too: a console
// gives Ctrl-C to all its processes.
func hasItAlready(os.Signal) bool { return true }

func exitCode(s *os.ProcessState) int { return s.ExitCode() }
