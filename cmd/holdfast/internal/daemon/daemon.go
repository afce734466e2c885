// Package daemon implements the server of holdfast serve. It listens, opens the
// roles, serves their credentials to AWS clients, and reports its state to
// users, systemd and Prometheus. Of Holdfast's packages, it imports front,
// role, the packages that serve credentials, signer and keystore.
package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/systemd"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A Config selects the roles that a daemon serves and the addresses on which it
// listens.
type Config struct {
	Roles []role.Setup // at least one

	Listen       string   // HOST:PORT; port 0: any free port; "": a socket from systemd, otherwise DefaultListen
	HopLimit     int      // IP hop limit of responses, 1 to 255
	AllowRemote  bool     // allows addresses that other machines can reach
	Hosts        []string // additional host names in requests
	TokenFile    string   // "": a file in the runtime folder, which is removed on shutdown
	StatusListen string   // HOST:PORT; "": no status endpoints

	// Hold is how long a request of the container endpoint waits while there are no
	// valid credentials, at most service.MaxHold.
	Hold time.Duration

	Log    *slog.Logger
	Reload <-chan os.Signal // each signal reloads keys and certificates
}

// Run serves until ctx ends or a listener fails. It prompts for PINs only until
// the first attempt to obtain credentials has ended for each role.
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
	http                   *loopback.Server
	handler, statusHandler *service.Gate
	monitor                *monitor
}

// run serves until ctx ends or a listener fails. It opens the listeners first,
// because that is fast and needs no PIN. Then it opens the keys, which may
// prompt for PINs; meanwhile, clients wait for at most Hold and receive status 503.
func (d *daemon) run(ctx context.Context) error {
	if err := d.openListeners(ctx); err != nil {
		return err
	}
	d.handler, d.statusHandler = service.NewGate(d.cfg.Hold, isContainer), service.NewGate(0, nil)
	d.http = &loopback.Server{Handler: d.handler, Hosts: d.cfg.Hosts, Logger: d.log}
	d.monitor = &monitor{requests: service.NewRequests(endpoints[:]), server: d.http, now: d.app.Now, started: d.app.Now(), endedHelpers: d.app.Store.EndedHelpers}
	d.http.Observe = d.monitor.requests.Observe
	status := &loopback.Server{Handler: d.statusHandler, Hosts: d.cfg.Hosts, Page: true, Logger: d.log, MaxConns: 32}
	return service.Run(ctx, []service.Server{{Server: d.http, Listeners: d.listeners}, {Server: status, Listeners: d.status}}, d.openRoles, d.begin)
}

// openRoles opens the roles and the token file.
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
	token, err := newAuthToken(d.app.Env, d.cfg.TokenFile, d.listeners[0].Addr(), d.log)
	if err != nil {
		return err
	}
	d.token = token
	return nil
}

// begin starts to serve credentials, prints the instructions for clients, and
// starts the background tasks, which run until ctx ends.
func (d *daemon) begin(ctx context.Context, background *sync.WaitGroup) error {
	d.monitor.roles = d.roles
	d.handler.Open(d.routes())
	d.statusHandler.Open(d.monitor.handler())
	for _, r := range d.roles {
		background.Go(func() { r.Keep(ctx) })
	}
	background.Go(func() { d.reload(ctx) })
	background.Go(func() { d.token.keep(ctx) })
	if err := d.announce(); err != nil {
		return err
	}
	systemd.Manager{Env: d.app.Env}.Report(ctx, background, d.monitor.alive, func() (string, bool) {
		for _, r := range d.roles {
			select {
			case <-r.Tried:
			case <-ctx.Done():
				return "", false
			}
		}
		if d.app.Typed != nil {
			d.app.Typed.Stop()
		}
		return "serving " + strconv.Itoa(len(d.roles)) + " role(s)", true
	})
	return nil
}

// reload requests a reload of all keys and certificates on each SIGHUP.
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
		l.Close() // a server may already have closed it
	}
	for _, r := range d.roles {
		r.Close()
	}
	if d.token != nil {
		d.token.Close()
	}
}
