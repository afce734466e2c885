package awssdk_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/rolesanywhere/awssdk"
)

// List the buckets of a service that speaks S3 at an endpoint of its own.
func Example_s3() {
	key, world := open() // a key with its certificate; see keystore
	defer world.Close()
	defer key.Close()

	provider, err := awssdk.FromSigner(key, rolesanywhere.Config{
		TrustAnchorARN: world.trustAnchor,
		ProfileARN:     world.profile,
		RoleARN:        world.roles[0],
		Endpoint:       world.aws.URL, // without it, the endpoint of AWS
	})
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(aws.Config{Region: "us-east-1", Credentials: provider}, func(o *s3.Options) {
		o.BaseEndpoint = aws.String(world.storage.URL)
		o.UsePathStyle = true
	})
	list, err := client.ListBuckets(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, bucket := range list.Buckets {
		fmt.Println(*bucket.Name)
	}
	fmt.Println("signed with:", world.storage.signedWith())
	// Output:
	// backups
	// signed with: AWS4-HMAC-SHA256, a temporary key, us-east-1/s3/aws4_request
}

// Share a Provider between clients: they use one session. LoadDefaultConfig reads the
// other settings, such as the region, from the environment and ~/.aws/config.
func Example_shared() {
	key, world := open()
	defer world.Close()
	defer key.Close()

	provider, err := awssdk.FromSigner(key, rolesanywhere.Config{
		TrustAnchorARN: world.trustAnchor,
		ProfileARN:     world.profile,
		RoleARN:        world.roles[0],
		Endpoint:       world.aws.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go provider.Cache().Run(ctx) // renews the credentials even while no client needs them

	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion("us-east-1"), config.WithBaseEndpoint(world.aws.URL), config.WithCredentialsProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("account", *who.Account)
	}
	fmt.Println("sessions:", provider.Cache().Status().Renewals)
	// Output:
	// account 111122223333
	// account 111122223333
	// account 111122223333
	// sessions: 1
}

// Assume a second role with the session. With package assume, the Provider has only the
// credentials of that role. A third one is assumed by the SDK here, as programs do that
// know nothing of Holdfast.
func Example_roleChaining() {
	key, world := open()
	defer world.Close()
	defer key.Close()

	first, err := rolesanywhere.New(rolesanywhere.Config{
		Signer:         key,
		TrustAnchorARN: world.trustAnchor,
		ProfileARN:     world.profile,
		RoleARN:        world.roles[0],
		Endpoint:       world.aws.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	second, err := assume.New(assume.Config{
		Source:   first,
		RoleARN:  world.roles[1],
		Region:   "us-east-1",
		Endpoint: world.aws.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(world.aws.URL), Credentials: awssdk.New(second)}
	show(cfg)

	third := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), world.roles[2])
	cfg.Credentials = aws.NewCredentialsCache(third)
	show(cfg)
	// Output:
	// arn:aws:sts::444455556666:assumed-role/second/
	// arn:aws:sts::777788889999:assumed-role/third/
}
