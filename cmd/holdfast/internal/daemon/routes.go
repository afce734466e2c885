package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/imds"
)

// routes returns the handler for all roles. Each role has a path and, if it is
// configured, a port. The container endpoint of the first role is also at the
// root. The metadata service is at the root only if there is a single role: the
// AWS SDKs for Go and JavaScript ignore the path of
// AWS_EC2_METADATA_SERVICE_ENDPOINT, so a client of another role would receive
// the credentials of the first role.
func (d *daemon) routes() http.Handler {
	mux := http.NewServeMux()
	ports := make(map[int]http.Handler)
	tokens := imds.NewTokens(d.app.Now)
	for i, r := range d.roles {
		metadata := &imds.Handler{Current: r.Cache.Current, Role: r.Name, RoleARN: r.ARN, Region: r.Region, Tokens: tokens}
		endpoint := &container.Handler{Current: d.current(r), Token: d.token.Value, RoleARN: r.ARN}
		if len(d.roles) == 1 {
			mux.Handle("/latest/", metadata)
		}
		if i == 0 {
			mux.Handle("/credentials", endpoint)
		}
		prefix := "/roles/" + r.Name
		mux.Handle(prefix+"/latest/", stripPrefix(prefix, metadata))
		mux.Handle(prefix+"/credentials", endpoint)
		if r.Port != 0 {
			own := http.NewServeMux()
			own.Handle("/latest/", metadata)
			own.Handle("/credentials", endpoint)
			ports[r.Port] = own
		}
	}
	if len(ports) == 0 {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && ports[addr.Port] != nil {
			ports[addr.Port].ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// current returns the function that the container endpoint of a role calls. With
// Hold, the Gate has set the time at which its context ends.
func (d *daemon) current(r *role.Role) func(context.Context) (credentials.Credentials, error) {
	if d.cfg.Hold <= 0 {
		return r.Cache.Current
	}
	return func(ctx context.Context) (credentials.Credentials, error) {
		return service.Wait(ctx, r.Cache, d.app.Now)
	}
}

// stripPrefix passes requests to next with the prefix removed from their path.
// Unlike [http.StripPrefix], it also accepts a path with unnecessary escapes.
func stripPrefix(prefix string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner, u := *r, *r.URL
		u.Path, u.RawPath = strings.TrimPrefix(u.Path, prefix), ""
		inner.URL = &u
		next.ServeHTTP(w, &inner)
	})
}

// announce prints the lines that configure the shell of a client. It is called
// when credentials are served, and writes all lines at once, because a program
// may wait for the first line. If there are several roles, their lines are
// comments, because all of them set the same variables.
func (d *daemon) announce() error {
	base := service.URL(d.listeners[0].Addr())
	var b strings.Builder
	fmt.Fprintf(&b, "# listening on %s\n", base)
	for _, l := range d.status {
		fmt.Fprintf(&b, "# status at %s/, /healthz, /readyz and /metrics\n", service.URL(l.Addr()))
	}
	fmt.Fprintf(&b, "export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=%s\n", front.ShellQuote(d.token.path))
	fmt.Fprintf(&b, "export AWS_CONTAINER_AUTHORIZATION_TOKEN=\"$(cat %s)\"\n", front.ShellQuote(d.token.path))
	metadata := func(note, url string) {
		fmt.Fprintf(&b, "# or, for programs that support only the instance metadata service%s:\n", note)
		fmt.Fprintf(&b, "# export AWS_EC2_METADATA_SERVICE_ENDPOINT=%s/\n", url)
	}
	if len(d.roles) == 1 {
		fmt.Fprintf(&b, "export AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/credentials\n", base)
		metadata("", base)
	} else {
		fmt.Fprintf(&b, "# and one line for the role that the client uses:\n")
		for _, r := range d.roles {
			path := base + "/roles/" + r.Name
			fmt.Fprintf(&b, "\n# role %s\n# export AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/credentials\n", r.Name, path)
			if r.Port != 0 {
				metadata("", service.URL(&net.TCPAddr{IP: d.listeners[0].Addr().(*net.TCPAddr).IP, Port: r.Port}))
			} else {
				metadata(" (AWS CLI and boto3; other clients need a port for the role)", path)
			}
		}
	}
	_, err := io.WriteString(d.app.Stdout, b.String())
	return err
}
