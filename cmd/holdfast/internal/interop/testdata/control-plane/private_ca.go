package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acmpca"
	"github.com/aws/aws-sdk-go-v2/service/acmpca/types"
)

const privateCA = "arn:aws:acm-pca:us-east-1:111122223333:certificate-authority/00000000-0000-0000-0000-000000000001"

// issue gets a certificate, which is not ready at the first call, and the error of a
// damaged request. It prints the certificate.
func issue(ctx context.Context, cfg aws.Config, csr string) error {
	pem, err := os.ReadFile(csr)
	if err != nil {
		return err
	}
	client := acmpca.NewFromConfig(cfg)
	in := &acmpca.IssueCertificateInput{
		CertificateAuthorityArn: aws.String(privateCA), Csr: pem, SigningAlgorithm: types.SigningAlgorithmSha256withecdsa,
		Validity: &types.Validity{Type: types.ValidityPeriodTypeDays, Value: aws.Int64(1)}, IdempotencyToken: aws.String("token"),
	}
	issued, err := client.IssueCertificate(ctx, in)
	if err != nil {
		return err
	}
	get := &acmpca.GetCertificateInput{CertificateAuthorityArn: in.CertificateAuthorityArn, CertificateArn: issued.CertificateArn}
	var pending *types.RequestInProgressException
	if _, err := client.GetCertificate(ctx, get); !errors.As(err, &pending) {
		return fmt.Errorf("certificate that is not ready: %w", err)
	}
	out, err := client.GetCertificate(ctx, get)
	if err != nil {
		return err
	}
	fmt.Println(*out.Certificate)

	var malformed *types.MalformedCSRException
	in.Csr = pem[1:]
	if _, err := client.IssueCertificate(ctx, in); !errors.As(err, &malformed) {
		return fmt.Errorf("damaged request: %w", err)
	}
	return nil
}
