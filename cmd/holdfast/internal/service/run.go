package service

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A Server is a server with its listeners, which it owns. Without listeners it does not run.
type Server struct {
	*loopback.Server
	Listeners []net.Listener
}

// Run serves until ctx ends or a listener fails. Meanwhile it calls open and then begin,
// which starts the background tasks; their context ends with the service. Run returns when
// all of them have ended. The error is that of a listener, or else that of open or begin.
func Run(ctx context.Context, all []Server, open func(context.Context) error, begin func(context.Context, *sync.WaitGroup) error) error {
	serving, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()

	served := make(chan error, len(all))
	servers := 0
	for _, s := range all {
		if len(s.Listeners) == 0 {
			continue
		}
		servers++
		go func() {
			defer stop() // a failed listener ends the service
			served <- s.Serve(serving, s.Listeners...)
		}()
	}
	err := open(serving)
	if err == nil && serving.Err() == nil {
		err = begin(serving, &background)
	}
	if err != nil {
		stop()
	}
	var serveErr error
	for range servers {
		serveErr = errors.Join(serveErr, <-served)
	}
	if serveErr != nil {
		return serveErr // the cause; err only reports the shutdown that followed
	}
	return err
}
