package pinentry

import "os"

func terminate(p *os.Process) error { return p.Kill() }

func wasInterrupted(*os.ProcessState) bool { return false }
