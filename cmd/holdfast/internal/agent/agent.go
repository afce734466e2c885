package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/systemd"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

// A config has the settings of an agent.
type config struct {
	setup role.Setup // of the base role
	trust string     // identifies the servers that the connection trusts, for state

	pods        string // file
	cluster     cluster
	audience    string
	sameAddress bool

	kubernetes kubernetes
	node       string

	listen       []string // HOST:PORT; empty: the default addresses
	statusListen string   // HOST:PORT; "": no status endpoints
	allowRemote  bool     // for statusListen

	state     string // file; "": none
	stateSeal string // reference; "": the file is not encrypted

	log    *slog.Logger
	reload <-chan os.Signal // each signal reloads the mapping, the key and the certificate
}

// maxConns limits the connections of pods. A node has 110 pods by default, with several
// programs each. A connection with a large token takes some 80 KiB, and the limit of the
// chart is 128 MiB.
const maxConns = 768

// maxStatusConns limits the connections of the status endpoints.
const maxStatusConns = 32

// An agent is the state of one run.
type agent struct {
	app front.App
	cfg config

	listeners, status   []net.Listener
	http                *loopback.Server
	handler, statusGate *service.Gate
	base                *role.Role
	mapping             *mappingFile
	pool                *podidentity.Pool
	counts              *counts
	requests            *service.Requests
	transport           *transport
	reviewer            *podidentity.Reviewer
	monitor             *monitor
}

// run serves until ctx ends or a listener fails. It reads and checks all files first,
// then listens, and then opens the key, which may prompt for a PIN; meanwhile, requests
// wait.
func run(ctx context.Context, a front.App, cfg config) error {
	g := &agent{app: a, cfg: cfg}
	defer g.close()
	if err := g.prepare(ctx); err != nil {
		return err
	}
	return g.serve(ctx)
}

// prepare reads the files and opens the listeners.
func (g *agent) prepare(ctx context.Context) (err error) {
	cfg, log := g.cfg, g.cfg.log
	g.counts = newCounts(g.app.Now, log)
	g.pool = &podidentity.Pool{Refused: isRefused, Now: g.app.Now, Logger: log}
	granter := &granter{setup: cfg.setup, cluster: cfg.cluster}
	g.mapping = &mappingFile{path: cfg.pods, check: granter.check, changed: g.mapped, log: log}
	if err := g.mapping.load(ctx); err != nil {
		return err
	}
	if g.transport, err = newTransport(cfg.kubernetes, log); err != nil {
		return err
	}
	token := cfg.kubernetes.readToken()
	if token != nil {
		if _, err := token(); err != nil {
			return err
		}
	}
	g.reviewer = &podidentity.Reviewer{
		Server: cfg.kubernetes.url, Audience: cfg.audience, Node: cfg.node, Token: token,
		Transport: g.transport, Now: g.app.Now, Logger: log,
	}
	if err := g.reviewer.Check(); err != nil {
		return signer.WithHint(&front.UsageError{Err: err},
			"check --kubernetes-url, such as https://192.0.2.10:6443, and --node-name, the name that kubectl get nodes shows")
	}
	if err := g.listenForPods(ctx); err != nil {
		return err
	}
	if cfg.statusListen != "" {
		l, err := service.Listen(ctx, "--status-listen", cfg.statusListen, cfg.allowRemote, service.ExposesStatus)
		if err != nil {
			return err
		}
		g.status = append(g.status, l)
	}
	return nil
}

// mapped is called with each new mapping.
func (g *agent) mapped(m mapping) {
	keys := m.keys()
	g.pool.Keep(func(key string) bool { return keys[withoutPod(key)] })
	g.counts.keep(m)
}

// serve serves until ctx ends or a listener fails.
func (g *agent) serve(ctx context.Context) error {
	g.handler, g.statusGate = service.NewGate(podidentity.DefaultHold, isPodPath), service.NewGate(0, nil)
	g.requests = service.NewRequests(endpoints[:])
	g.http = &loopback.Server{Handler: g.handler, MaxConns: maxConns, Observe: g.requests.Observe, Logger: g.cfg.log}
	status := &loopback.Server{Handler: g.statusGate, MaxConns: maxStatusConns, Logger: g.cfg.log}
	return service.Run(ctx, []service.Server{{Server: g.http, Listeners: g.listeners}, {Server: status, Listeners: g.status}}, g.open, g.begin)
}

// endpoints are the endpoint labels of the request counters.
var endpoints = [...]service.Endpoint{
	{Name: "pods", Match: func(path string) bool { return path == podidentity.Path }},
	{Name: "other", Match: func(string) bool { return true }},
}

func isPodPath(r *http.Request) bool { return r.URL.Path == podidentity.Path }

// open opens the key of the base role, and the state file.
func (g *agent) open(ctx context.Context) (err error) {
	setup := g.cfg.setup
	setup.Config = withDuration(setup.Config)
	if g.base, err = setup.Open(ctx, g.app, nil); err != nil {
		return err
	}
	if g.cfg.state == "" {
		return nil
	}
	state := &stateFile{path: g.cfg.state, now: g.app.Now, log: g.cfg.log}
	state.key = func() (string, error) {
		leaf := sha256.Sum256(g.base.Identity.Chain()[0].Raw)
		return setup.Config.CacheKey(hex.EncodeToString(leaf[:]), g.cfg.trust)
	}
	if g.cfg.stateSeal != "" {
		var ref *keystore.RefError
		state.seal, err = openSeal(ctx, g.app, g.cfg.stateSeal)
		switch {
		case errors.As(err, &ref), errors.Is(err, errors.ErrUnsupported):
			return fmt.Errorf("--state-seal: %w", err)
		case err != nil:
			g.cfg.log.Warn("the key of the state file is not available; continuing without the file", "error", err)
			return nil
		}
	}
	g.base.Cache.Source = &keptSource{file: state, source: g.base.Cache.Source}
	return nil
}

// begin starts to serve credentials, and the background tasks, which run until ctx ends.
func (g *agent) begin(ctx context.Context, background *sync.WaitGroup) error {
	granter := &granter{
		setup: g.cfg.setup, base: g.base, cluster: g.cfg.cluster, mapping: g.mapping.current, counts: g.counts,
		unknown: g.unknownSession,
	}
	g.monitor = &monitor{
		base: g.base, pool: g.pool, mapping: g.mapping, counts: g.counts, reviewer: g.reviewer, addresses: g.addresses(), server: g.http,
		started: g.app.Now(), requests: g.requests, endedHelpers: g.app.Store.EndedHelpers,
	}
	g.handler.Open(&podidentity.Handler{
		Review: g.reviewer.Review, Grant: granter.grant, Pool: g.pool, SameAddress: g.cfg.sameAddress, Issued: g.counts.issued, Now: g.app.Now,
	})
	g.statusGate.Open(g.monitor.handler())
	again := make(chan struct{}, 1)
	background.Go(func() { probe(ctx, g.reviewer) })
	background.Go(func() { g.base.Keep(ctx) })
	background.Go(func() { _ = g.pool.Run(ctx) }) // it returns only the error of ctx
	background.Go(func() { g.mapping.watch(ctx, again) })
	background.Go(func() { g.onHangup(ctx, again) })
	if err := g.announce(); err != nil {
		return err
	}
	systemd.Manager{Env: g.app.Env}.Report(ctx, background, g.monitor.alive, func() (string, bool) {
		select {
		case <-g.base.Tried:
		case <-ctx.Done():
			return "", false
		}
		g.app.Typed.Stop()
		return "serving the pods of " + g.cfg.node, true
	})
	return nil
}

// minSession is how long a base session is used before it can be replaced because STS
// does not know it, so that a wrong endpoint or clock does not cause many sessions.
const minSession = time.Minute

// unknownSession is called when STS does not accept the base session.
func (g *agent) unknownSession(c credentials.Credentials) {
	if s := g.base.Cache.Status(); g.app.Now().Sub(s.Last) < minSession {
		return
	}
	g.cfg.log.Warn("STS does not accept the session of the base role, which is replaced", "access_key_id", c.AccessKeyID)
	g.base.Cache.Discard(c.AccessKeyID)
}

// onHangup reloads the mapping, the key and the certificate on each SIGHUP.
func (g *agent) onHangup(ctx context.Context, again chan<- struct{}) {
	for {
		select {
		case <-g.cfg.reload:
			g.cfg.log.Info("SIGHUP: reloading the mapping, the key and the certificate")
			g.base.Identity.RequestReload()
			select {
			case again <- struct{}{}:
			default: // it is about to be read
			}
		case <-ctx.Done():
			return
		}
	}
}

// announce prints the addresses for pods. It writes all lines at once, because a program
// may wait for the first one.
func (g *agent) announce() error {
	text := ""
	for _, l := range g.listeners {
		text += "# listening on " + service.URL(l.Addr()) + "\n"
	}
	for _, l := range g.status {
		text += "# status at " + service.URL(l.Addr()) + "/healthz, /readyz and /metrics\n"
	}
	for _, l := range g.listeners {
		text += "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + service.URL(l.Addr()) + podidentity.Path + "\n"
	}
	_, err := io.WriteString(g.app.Stdout, text)
	return err
}

// close releases what run opened.
func (g *agent) close() {
	for _, l := range append(g.listeners, g.status...) {
		l.Close() // a server may already have closed it
	}
	if g.base != nil {
		g.base.Close()
	}
	if g.transport != nil {
		g.transport.CloseIdleConnections()
	}
}
