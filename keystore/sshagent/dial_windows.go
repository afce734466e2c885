package sshagent

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/windows"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// pipes is the beginning of the names of pipes.
const pipes = `\\.\pipe\`

// defaultSocket is the pipe of the ssh-agent of Windows.
const defaultSocket = pipes + "openssh-ssh-agent"

// dial connects to the agent at a named pipe. The agent cannot act as this user.
func dial(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	if !strings.HasPrefix(strings.ToLower(strings.ReplaceAll(socket, "/", `\`)), pipes) {
		return nil, unreachable(errors.New(`is not a pipe, such as ` + defaultSocket))
	}
	name, err := windows.UTF16PtrFromString(socket)
	if err != nil {
		return nil, unreachable(err)
	}
	const flags = windows.FILE_FLAG_OVERLAPPED | windows.SECURITY_SQOS_PRESENT | windows.SECURITY_ANONYMOUS
	for {
		h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, flags, 0)
		if err == nil {
			return os.NewFile(uintptr(h), socket), nil
		}
		if !errors.Is(err, windows.ERROR_PIPE_BUSY) || await.Pause(ctx, 10*time.Millisecond) != nil {
			return nil, unreachable(err)
		}
	}
}
