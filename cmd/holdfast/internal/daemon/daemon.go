// Package daemon is what serve runs: it listens, opens the roles, gives their
// credentials to AWS clients, and tells people, systemd and Prometheus how it is
// doing. Of Holdfast it imports the front, roles and what hands out credentials.
package daemon

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

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A Config says what a daemon serves and where.
type Config struct {
	Roles []role.Setup // at least one

	Listen       string // HOST:PORT; port 0: a free one; "": a socket of systemd, else DefaultListen
	HopLimit     int    // of responses, 1 to 255
	AllowRemote  bool   // also an address that other machines reach
	Hosts        []string
	TokenFile    string // "": one of its own, removed at the end
	StatusListen string // an address with a port; "": no status

	Log    *slog.Logger
	Reload <-chan os.Signal // each has keys and certificates opened again
}

// Run serves until ctx ends or a listener breaks. It asks a person for PINs only
// until every role was tried once.
func Run(ctx context.Context, a front.App, cfg Config) error {
	d := &daemon{app: a, cfg: cfg, log: cfg.Log}
	defer d.close()
	return d.run(ctx)
}

// A daemon is the state of one Run.
type daemon struct {
	app front.App
	cfg Config
	log *slog.Logger

	listeners, status      []net.Listener
	token                  *authToken
	roles                  []*role.Role
	http, statusHTTP       *loopback.Server
	handler, statusHandler lateHandler
	monitor                *monitor
}

// A lateHandler answers that credentials are not available until it is set. It
// is safe for concurrent use.
type lateHandler struct{ handler atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.handler.Store(&h) }

// ServeHTTP implements [http.Handler].
func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := l.handler.Load(); h != nil {
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
func (d *daemon) run(ctx context.Context) error {
	if err := d.openListeners(ctx); err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()

	d.http = &loopback.Server{Handler: &d.handler, Hosts: d.cfg.Hosts, Logger: d.log}
	d.monitor = &monitor{server: d.http, started: d.app.Now()}
	d.http.Observe = d.monitor.observe
	d.statusHTTP = &loopback.Server{Handler: &d.statusHandler, Hosts: d.cfg.Hosts, Logger: d.log, MaxConns: 32}
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

	err := d.openRoles(serving)
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
	if broken != nil {
		return broken // err is of the end that this brought
	}
	return err
}

// openRoles opens the keys and what goes with them.
func (d *daemon) openRoles(ctx context.Context) error {
	for _, setup := range d.cfg.Roles {
		r, err := setup.Open(ctx, d.app, nil)
		if err != nil {
			if len(d.cfg.Roles) > 1 {
				err = fmt.Errorf("role %s: %w", setup.Name, err)
			}
			return err
		}
		d.roles = append(d.roles, r)
	}
	_, port, err := net.SplitHostPort(d.listeners[0].Addr().String())
	if err != nil {
		return err
	}
	d.token, err = newAuthToken(d.app.Env, d.cfg.TokenFile, port, d.log)
	return err
}

// begin lets clients in and has the background do what it does until ctx ends.
func (d *daemon) begin(ctx context.Context, background *sync.WaitGroup) error {
	d.monitor.roles = d.roles
	d.handler.set(d.routes())
	d.statusHandler.set(d.monitor.handler())
	for _, r := range d.roles {
		background.Go(func() { r.Keep(ctx) })
	}
	background.Go(func() { d.reload(ctx) })
	if err := d.announce(); err != nil {
		return err
	}
	manager := systemd{d.app.Env}
	background.Go(func() {
		<-ctx.Done()
		manager.notify("STOPPING=1")
	})
	background.Go(func() { manager.watchdog(ctx, d.monitor.alive) })
	background.Go(func() {
		for _, r := range d.roles {
			select {
			case <-r.Tried:
			case <-ctx.Done():
				return
			}
		}
		if d.app.Typed != nil {
			d.app.Typed.Stop()
		}
		manager.notify("READY=1", "STATUS=serving "+strconv.Itoa(len(d.roles))+" role(s)")
	})
	return nil
}

// reload has all keys and certificates opened again with each SIGHUP.
func (d *daemon) reload(ctx context.Context) {
	for {
		select {
		case <-d.cfg.Reload:
			d.log.Info("SIGHUP: reloading keys and certificates")
			for _, r := range d.roles {
				r.Identity.RequestReload()
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
		r.Close()
	}
	if d.token != nil {
		d.token.Close()
	}
}
