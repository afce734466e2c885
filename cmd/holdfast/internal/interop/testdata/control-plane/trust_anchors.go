package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rolesanywhere"
	"github.com/aws/aws-sdk-go-v2/service/rolesanywhere/types"
)

const anchors = 7

// walkTrustAnchors creates trust anchors, lists them by pages of three, and gets the
// errors of an unknown ID and of a certificate that is damaged. It sets an alias, which
// only this SDK knows. It prints nothing. The SDK repeats a request if it closed the
// connection before it had read the response, so the requests can be repeated.
func walkTrustAnchors(ctx context.Context, cfg aws.Config, pem string) error {
	client := rolesanywhere.NewFromConfig(cfg)
	source := func(pem string) *types.Source {
		return &types.Source{SourceType: types.TrustAnchorTypeCertificateBundle, SourceData: &types.SourceDataMemberX509CertificateData{Value: pem}}
	}
	created := make(map[string]string)
	last := ""
	for i := range anchors {
		out, err := client.CreateTrustAnchor(ctx, &rolesanywhere.CreateTrustAnchorInput{
			Name: aws.String(fmt.Sprint("go-", i)), Source: source(pem), Enabled: aws.Bool(true),
			CrlDpRevocationEnabled: aws.Bool(true), Tags: []types.Tag{{Key: aws.String("sdk"), Value: aws.String("go")}},
		})
		if err != nil {
			return err
		}
		created[*out.TrustAnchor.TrustAnchorId] = *out.TrustAnchor.Name
		last = *out.TrustAnchor.TrustAnchorId
	}
	aliased, err := client.UpdateTrustAnchor(ctx, &rolesanywhere.UpdateTrustAnchorInput{TrustAnchorId: aws.String(last), AliasName: aws.String("ca/go")})
	if err != nil {
		return err
	}
	if byAlias, err := client.GetTrustAnchor(ctx, &rolesanywhere.GetTrustAnchorInput{TrustAnchorId: aliased.TrustAnchor.AliasArn}); err != nil || *byAlias.TrustAnchor.TrustAnchorId != last {
		return fmt.Errorf("by alias: %w", err)
	}
	pages := rolesanywhere.NewListTrustAnchorsPaginator(client, &rolesanywhere.ListTrustAnchorsInput{PageSize: aws.Int32(3)})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		n++
		for _, a := range page.TrustAnchors {
			if created[*a.TrustAnchorId] == *a.Name {
				delete(created, *a.TrustAnchorId)
			}
		}
	}
	if len(created) > 0 || n < anchors/3 {
		return fmt.Errorf("%d trust anchors are not in the %d pages", len(created), n)
	}

	var invalid *types.ValidationException
	if _, err := client.CreateTrustAnchor(ctx, &rolesanywhere.CreateTrustAnchorInput{Name: aws.String("x"), Source: source("x")}); !errors.As(err, &invalid) {
		return fmt.Errorf("damaged certificate: %w", err)
	}
	var missing *types.ResourceNotFoundException
	if _, err := client.GetTrustAnchor(ctx, &rolesanywhere.GetTrustAnchorInput{TrustAnchorId: aws.String("00000000-0000-0000-0000-0000000000ff")}); !errors.As(err, &missing) {
		return fmt.Errorf("unknown ID: %w", err)
	}
	got, err := client.ListTrustAnchors(ctx, &rolesanywhere.ListTrustAnchorsInput{PageSize: aws.Int32(1)})
	if err != nil {
		return err
	}
	if got.NextToken == nil {
		return errors.New("no token for the next page")
	}
	altered := []byte(*got.NextToken)
	altered[len(altered)-1] ^= 1
	if _, err := client.ListTrustAnchors(ctx, &rolesanywhere.ListTrustAnchorsInput{NextToken: aws.String(string(altered))}); !errors.As(err, &invalid) {
		return fmt.Errorf("altered token: %w", err)
	}
	return nil
}
