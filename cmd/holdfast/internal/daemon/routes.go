package daemon

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/imds"
)

// routes answers for every role below a path of its own and, if it has one, at
// its port. The container endpoint is also there for the first role without a
// path. The metadata service is so for a single role only: the AWS SDKs for Go
// and JavaScript leave out the path of AWS_EC2_METADATA_SERVICE_ENDPOINT, and
// would take the first role's credentials for another's.
func (d *daemon) routes() http.Handler {
	mux := http.NewServeMux()
	ports := make(map[int]http.Handler)
	tokens := imds.NewTokens(d.app.Now)
	for i, r := range d.roles {
		metadata := &imds.Handler{Current: r.Cache.Current, Role: r.Name, RoleARN: r.ARN, Region: r.Region, Tokens: tokens}
		endpoint := &container.Handler{Current: r.Cache.Current, Token: d.token.Value, RoleARN: r.ARN}
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

// stripPrefix hands requests to next without the prefix of their path. Unlike
// [http.StripPrefix] it takes a path with characters that need not be escaped.
func stripPrefix(prefix string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner, u := *r, *r.URL
		u.Path, u.RawPath = strings.TrimPrefix(u.Path, prefix), ""
		inner.URL = &u
		next.ServeHTTP(w, &inner)
	})
}

// announce prints what a person has to paste, in one write, once connections
// are accepted; a program waits for the first line. Of several roles the lines
// are comments: all of them set the same variables.
func (d *daemon) announce() error {
	base := baseURL(d.listeners[0].Addr())
	var b strings.Builder
	fmt.Fprintf(&b, "# listening on %s\n", base)
	for _, l := range d.status {
		fmt.Fprintf(&b, "# status at %s/healthz, /readyz and /metrics\n", baseURL(l.Addr()))
	}
	fmt.Fprintf(&b, "export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=%s\n", front.ShellQuote(d.token.path))
	fmt.Fprintf(&b, "export AWS_CONTAINER_AUTHORIZATION_TOKEN=\"$(cat %s)\"\n", front.ShellQuote(d.token.path))
	metadata := func(note, url string) {
		fmt.Fprintf(&b, "# or, for programs that know the instance metadata service only%s:\n", note)
		fmt.Fprintf(&b, "# export AWS_EC2_METADATA_SERVICE_ENDPOINT=%s/\n", url)
	}
	if len(d.roles) == 1 {
		fmt.Fprintf(&b, "export AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/credentials\n", base)
		metadata("", base)
	} else {
		fmt.Fprintf(&b, "# and one line of the role that the client is to have:\n")
		for _, r := range d.roles {
			path := base + "/roles/" + r.Name
			fmt.Fprintf(&b, "\n# role %s\n# export AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/credentials\n", r.Name, path)
			if r.Port != 0 {
				metadata("", baseURL(&net.TCPAddr{IP: d.listeners[0].Addr().(*net.TCPAddr).IP, Port: r.Port}))
			} else {
				metadata(" (AWS CLI and boto3; others need a port for the role)", path)
			}
		}
	}
	_, err := io.WriteString(d.app.Stdout, b.String())
	return err
}

// baseURL names an address as a client of this machine may.
func baseURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
