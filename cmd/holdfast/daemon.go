package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A daemon is what serve consists of.
type daemon struct {
	app    app
	flags  *serveFlags
	log    *slog.Logger
	hangup <-chan os.Signal

	listeners, status []net.Listener
	token             *authToken
	roles             []*role
	http, statusHTTP  *loopback.Server
	door, statusDoor  door
	monitor           *monitor
}

// A door answers that nothing is there until it is opened. It is safe for
// concurrent use.
type door struct{ inside atomic.Pointer[http.Handler] }

func (d *door) open(h http.Handler) { d.inside.Store(&h) }

// ServeHTTP implements [http.Handler].
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := d.inside.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	writeStatus(w, http.StatusServiceUnavailable, map[string]string{
		"Code": "CredentialsNotAvailable", "Message": "holdfast is still opening its keys",
	})
}

// run serves until ctx ends or a listener breaks. What fails soon and costs
// nobody anything comes first; while keys are opened, which may ask a person,
// clients are told so.
func (d *daemon) run(ctx context.Context, setups []roleSetup) error {
	if err := d.openListeners(ctx, setups); err != nil {
		return err
	}
	if err := d.flags.role.session.connect(d.app); err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()

	d.http = &loopback.Server{Handler: &d.door, Hosts: d.flags.hosts, Logger: d.log}
	d.monitor = &monitor{server: d.http, started: d.app.now()}
	d.http.Observe = d.monitor.observe
	d.statusHTTP = &loopback.Server{Handler: &d.statusDoor, Hosts: d.flags.hosts, Logger: d.log, MaxConns: 32}
	served := make(chan error, 2)
	servers := 1
	serve := func(s *loopback.Server, ls []net.Listener) {
		defer stop() // also if a listener breaks
		served <- s.Serve(serving, ls...)
	}
	go serve(d.http, d.listeners)
	if len(d.status) > 0 {
		servers++
		go serve(d.statusHTTP, d.status)
	}

	err := d.openRoles(serving, setups)
	if err == nil && serving.Err() == nil {
		err = d.begin(serving, &background)
	}
	if err != nil {
		stop()
	}
	var broken error
	for range servers {
		broken = errors.Join(broken, <-served)
	}
	return errors.Join(broken, err)
}

// openRoles opens the keys and what goes with them.
func (d *daemon) openRoles(ctx context.Context, setups []roleSetup) error {
	for _, setup := range setups {
		setup.session.config.Transport = d.flags.role.session.config.Transport
		r, err := d.app.openRole(ctx, setup)
		if err != nil {
			if len(setups) > 1 {
				err = fmt.Errorf("role %s: %w", setup.name, err)
			}
			return err
		}
		d.roles = append(d.roles, r)
	}
	_, port, err := net.SplitHostPort(d.listeners[0].Addr().String())
	if err != nil {
		return err
	}
	d.token, err = d.app.newAuthToken(d.flags.tokenFile, port, d.log)
	return err
}

// begin opens the doors and has the background do what it does until ctx ends.
func (d *daemon) begin(ctx context.Context, background *sync.WaitGroup) error {
	d.monitor.roles = d.roles
	d.door.open(d.handler())
	d.statusDoor.open(d.monitor.handler())
	for _, r := range d.roles {
		background.Go(func() { r.keep(ctx) })
	}
	background.Go(func() { d.hangups(ctx) })
	if err := d.announce(); err != nil {
		return err
	}
	manager := service{d.app}
	background.Go(func() {
		<-ctx.Done()
		manager.notify("STOPPING=1")
	})
	background.Go(func() { manager.watchdog(ctx, d.monitor.alive) })
	background.Go(func() {
		for _, r := range d.roles {
			select {
			case <-r.source.firstEnded:
			case <-ctx.Done():
				return
			}
		}
		d.app.typed.stop()
		manager.notify("READY=1", "STATUS=serving "+strconv.Itoa(len(d.roles))+" role(s)")
	})
	return nil
}

// hangups reloads all keys and certificates with each SIGHUP.
func (d *daemon) hangups(ctx context.Context) {
	for {
		select {
		case <-d.hangup:
			d.log.Info("SIGHUP: reloading keys and certificates")
			for _, r := range d.roles {
				select {
				case r.force <- struct{}{}:
				default: // one is about to begin
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// close releases what run opened.
func (d *daemon) close() {
	for _, l := range append(d.listeners, d.status...) {
		l.Close() // again, if it was served on
	}
	for _, r := range d.roles {
		r.source.Close()
	}
	if d.token != nil {
		d.token.Close()
	}
}
