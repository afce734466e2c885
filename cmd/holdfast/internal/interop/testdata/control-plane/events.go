package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

// walkEvents finds the events of CreateTrustAnchor by pages of three, finds none in an
// earlier time, and gets the error of a time range that ends before its start.
func walkEvents(ctx context.Context, cfg aws.Config) error {
	client := cloudtrail.NewFromConfig(cfg)
	day := time.Now().Add(-24 * time.Hour)
	in := &cloudtrail.LookupEventsInput{
		LookupAttributes: []types.LookupAttribute{{AttributeKey: types.LookupAttributeKeyEventName, AttributeValue: aws.String("CreateTrustAnchor")}},
		StartTime:        aws.Time(day), EndTime: aws.Time(time.Now().Add(time.Hour)), MaxResults: aws.Int32(3),
	}
	seen := make(map[string]bool)
	pages := cloudtrail.NewLookupEventsPaginator(client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if len(page.Events) > 3 {
			return fmt.Errorf("a page of three has %d events", len(page.Events))
		}
		for _, e := range page.Events {
			if *e.EventName != "CreateTrustAnchor" || e.EventTime == nil || e.EventTime.Before(day) || seen[*e.EventId] {
				return fmt.Errorf("event %s %s at %v", *e.EventName, *e.EventId, e.EventTime)
			}
			seen[*e.EventId] = true
		}
	}
	if len(seen) < anchors {
		return fmt.Errorf("%d events of CreateTrustAnchor", len(seen))
	}

	in.StartTime, in.EndTime = nil, aws.Time(day)
	if none, err := client.LookupEvents(ctx, in); err != nil || len(none.Events) > 0 {
		return fmt.Errorf("events of yesterday: %v, %w", none, err)
	}
	in.StartTime = aws.Time(day.Add(time.Second))
	var invalid *types.InvalidTimeRangeException
	if _, err := client.LookupEvents(ctx, in); !errors.As(err, &invalid) {
		return fmt.Errorf("time range: %w", err)
	}
	return nil
}
