package podidentity_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
)

// A roleSource stands for a client of IAM Roles Anywhere.
type roleSource struct{}

func (roleSource) Credentials(context.Context) (credentials.Credentials, error) {
	return credentials.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "token", Expires: time.Now().Add(time.Hour)}, nil
}

// The agent of a node gives each pod the credentials of the role of its service account.
func Example() {
	// The API server attests the pod of each token.
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {
			"authenticated": true, "audiences": ["pods.eks.amazonaws.com"], "user": {
				"username": "system:serviceaccount:shop:cart", "extra": {
					"authentication.kubernetes.io/pod-name": ["cart-7d4b9"],
					"authentication.kubernetes.io/pod-uid": ["0b0a1c5e-5d1f-4d5c-8a3e-6f2f1e0c9d11"],
					"authentication.kubernetes.io/node-name": ["node-1"]}}}}`)
	}))
	defer api.Close()
	reviewer := &podidentity.Reviewer{Server: api.URL, Node: "node-1"}

	roles := map[string]string{"shop/cart": "arn:aws:iam::111122223333:role/cart"}
	grant := func(p podidentity.Pod) (podidentity.Grant, error) {
		account := p.Namespace + "/" + p.ServiceAccount
		role, found := roles[account]
		if !found {
			return podidentity.Grant{}, &podidentity.RefusedError{Code: podidentity.AccessDenied, Reason: "there is no role for the service account " + account}
		}
		return podidentity.Grant{Key: account, RoleARN: role, Open: func() (credentials.Source, error) { return roleSource{}, nil }}, nil
	}

	pool := &podidentity.Pool{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = pool.Run(ctx) }() // renews what pods use

	agent := httptest.NewServer(&podidentity.Handler{Review: reviewer.Review, Grant: grant, Pool: pool})
	defer agent.Close()

	// A pod sends its projected token, here one with the claims {"exp":4102444800}.
	for _, token := range []string{"eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2lnbmF0dXJl", "guessed"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, agent.URL+podidentity.Path, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("Authorization", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode, strings.Contains(string(body), "ASIAEXAMPLE"), err)
	}
	// Output:
	// 200 true <nil>
	// 400 false <nil>
}
