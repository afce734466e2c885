package clitest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// commands are the programs that this test binary also is. nokeyring ERRNO
// COMMAND … runs a command where the kernel answers calls for its keyring with
// an error, as it does in many containers.
func commands() map[string]func() {
	return map[string]func(){"nokeyring": func() {
		fmt.Fprintln(os.Stderr, "nokeyring:", withoutKeyring(os.Args[1], os.Args[2:]))
		os.Exit(99)
	}, "count-interrupts": countInterrupts, "job": runJob}
}

// countInterrupts counts each delivery of SIGINT, which a shell does not, and
// says whether the terminal echoes.
func countInterrupts() {
	c := make(chan os.Signal, 16)
	signal.Notify(c, os.Interrupt)
	fmt.Println("ready")
	<-c
	n := 1
	for timeout := time.After(500 * time.Millisecond); ; n++ {
		select {
		case <-c:
		case <-timeout:
			state, err := unix.IoctlGetTermios(0, unix.TCGETS)
			fmt.Printf("count=%d, sane=%t.\n", n, err == nil && state.Lflag&unix.ECHO != 0)
			os.Exit(5)
		}
	}
}

// runJob runs a command as a foreground job of a shell would. It prints the
// process ID of the command, and how the command stopped or ended with the state
// of the terminal. It continues the command when it has stopped.
func runJob() {
	signal.Ignore(unix.SIGTTOU)
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(99)
	}
	fmt.Printf("pid=%d.\n", cmd.Process.Pid)
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil {
			continue
		}
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
		state, err := unix.IoctlGetTermios(0, unix.TCGETS)
		sane := err == nil && state.Lflag&unix.ECHO != 0
		if !status.Stopped() {
			fmt.Printf("signal=%d, code=%d, sane=%t.\n", status.Signal(), status.ExitStatus(), sane)
			os.Exit(0)
		}
		fmt.Printf("stopped=%d, sane=%t.\n", status.StopSignal(), sane)
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, cmd.Process.Pid)
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGCONT)
	}
}

func withoutKeyring(number string, args []string) error {
	errno, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return err
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	statement := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	const loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	filter := []unix.SockFilter{statement(loadWord, 0)} // the number of the call
	calls := []uint32{unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY}
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: uint8(len(calls) - i)})
	}
	filter = append(filter,
		statement(unix.BPF_RET, unix.SECCOMP_RET_ALLOW),
		statement(unix.BPF_RET, unix.SECCOMP_RET_ERRNO|uint32(errno)))
	runtime.LockOSThread() // what this thread may do, the program may do after it
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return err
	}
	return unix.Exec(program, args, os.Environ())
}
