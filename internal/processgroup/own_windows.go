package processgroup

import "os/exec"

func own(*exec.Cmd) {}
