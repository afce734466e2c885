package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

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
	monitor           *monitor
}

// setUp opens everything. What fails soon and costs nobody anything comes first.
func (d *daemon) setUp(ctx context.Context, setups []roleSetup) error {
	if err := d.openListeners(ctx, setups); err != nil {
		return err
	}
	if err := d.flags.role.session.connect(d.app); err != nil {
		return err
	}
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
	if d.token, err = d.app.newAuthToken(d.flags.tokenFile, port, d.log); err != nil {
		return err
	}
	d.http = &loopback.Server{Handler: d.handler(), Hosts: d.flags.hosts, Logger: d.log}
	d.monitor = &monitor{roles: d.roles, server: d.http, started: d.app.now()}
	d.http.Observe = d.monitor.observe
	d.statusHTTP = &loopback.Server{Handler: d.monitor.handler(), Hosts: d.flags.hosts, Logger: d.log, MaxConns: 32}
	return nil
}

// run serves until ctx ends or a listener breaks.
func (d *daemon) run(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	for _, r := range d.roles {
		background.Go(func() { r.keep(serving) })
	}
	background.Go(func() { d.hangups(serving) })

	served := make(chan error, 2)
	servers := 1
	go func() { served <- d.http.Serve(serving, d.listeners...) }()
	if len(d.status) > 0 {
		servers++
		go func() { served <- d.statusHTTP.Serve(serving, d.status...) }()
	}
	if err := d.announce(); err != nil {
		stop()
		return errors.Join(err, <-served)
	}
	manager := service{d.app}
	background.Go(func() { manager.watchdog(serving, d.monitor.alive) })
	background.Go(func() {
		for _, r := range d.roles {
			select {
			case <-r.source.firstEnded:
			case <-serving.Done():
				return
			}
		}
		d.app.typed.stop()
		manager.notify("READY=1", "STATUS=serving "+strconv.Itoa(len(d.roles))+" role(s)")
	})

	var err error
	for range servers {
		err = errors.Join(err, <-served)
		if ctx.Err() != nil || err != nil {
			manager.notify("STOPPING=1")
		}
		stop()
	}
	return err
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

// close releases what setUp opened.
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
