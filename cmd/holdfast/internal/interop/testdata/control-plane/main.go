// Command control-plane calls the control plane of an emulator with the AWS SDK for
// Go. It is a module of its own, so that Holdfast does not depend on the SDK.
//
//	control-plane operations URL      # calls every operation and prints the errors
//	control-plane walk URL CA.PEM     # creates and lists trust anchors, and finds the events
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithBaseEndpoint(args[1]))
	if err != nil {
		return err
	}
	switch args[0] {
	case "operations":
		return callAll(ctx, cfg)
	case "walk":
		return walk(ctx, cfg, args[2])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// walk calls what needs a CA certificate, and then CloudTrail.
func walk(ctx context.Context, cfg aws.Config, ca string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	if err := walkTrustAnchors(ctx, cfg, string(pem)); err != nil {
		return err
	}
	return walkEvents(ctx, cfg)
}
