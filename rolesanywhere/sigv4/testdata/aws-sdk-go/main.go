// Command aws-sdk-go signs the requests on standard input with the AWS SDK for
// Go and prints their Authorization headers. It is a module of its own, so that
// Holdfast does not depend on the SDK.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	in := json.NewDecoder(os.Stdin)
	for {
		var q struct {
			Method, URL, Body, Service, Region string
			Header                             http.Header
			Time                               time.Time
			AccessKeyID, Secret, Token         string
		}
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r, err := http.NewRequest(q.Method, q.URL, nil) // without a body: the SDK would also sign Content-Length
		if err != nil {
			return err
		}
		r.Header = q.Header
		sum := sha256.Sum256([]byte(q.Body))
		c := aws.Credentials{AccessKeyID: q.AccessKeyID, SecretAccessKey: q.Secret, SessionToken: q.Token}
		if err := v4.NewSigner().SignHTTP(context.Background(), c, r, hex.EncodeToString(sum[:]), q.Service, q.Region, q.Time); err != nil {
			return err
		}
		fmt.Println(r.Header.Get("Authorization"))
	}
}
