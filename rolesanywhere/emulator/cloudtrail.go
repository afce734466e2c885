package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

const (
	cloudTrailService = "cloudtrail"
	sourceCloudTrail  = "cloudtrail.amazonaws.com"
)

var cloudTrailOperations = lookup.Table[string, func(*Server, *rpcRequest) (any, error)]{
	{actionLookupEvents, (*Server).lookupEvents},
}

// Limits of LookupEvents. The times are those of the years 1970 to 9999.
const (
	maxTrailResults = 50
	maxTrailTime    = 253402300799 // seconds since 1970
)

// A lookupInput is the input of LookupEvents, as events contain it.
type lookupInput struct {
	Attributes []lookupAttribute `json:"lookupAttributes,omitempty"`
	StartTime  *float64          `json:"startTime,omitempty"`
	EndTime    *float64          `json:"endTime,omitempty"`
	Category   string            `json:"eventCategory,omitempty"`
	MaxResults *int              `json:"maxResults,omitempty"`
	NextToken  string            `json:"nextToken,omitempty"`
}

type lookupAttribute struct {
	Key   string `json:"attributeKey,omitempty"`
	Value string `json:"attributeValue,omitempty"`
}

type lookupOutput struct {
	Events    []lookedUpEvent
	NextToken string `json:",omitempty"`
}

// A lookedUpEvent is an event in a response.
type lookedUpEvent struct {
	EventID         string `json:"EventId"`
	EventName       string
	EventSource     string
	EventTime       int64  // seconds since 1970
	Username        string `json:",omitempty"`
	AccessKeyID     string `json:"AccessKeyId,omitempty"`
	ReadOnly        string
	Resources       []lookedUpResource
	CloudTrailEvent string
}

type lookedUpResource struct {
	ResourceType string
	ResourceName string
}

// lookupValues returns the values of an event that an attribute can select.
var lookupValues = lookup.Table[string, func(lookedUpEvent) []string]{
	{"EventId", func(e lookedUpEvent) []string { return []string{e.EventID} }},
	{"EventName", func(e lookedUpEvent) []string { return []string{e.EventName} }},
	{"EventSource", func(e lookedUpEvent) []string { return []string{e.EventSource} }},
	{"ReadOnly", func(e lookedUpEvent) []string { return []string{e.ReadOnly} }},
	{"Username", func(e lookedUpEvent) []string { return []string{e.Username} }},
	{"AccessKeyId", func(e lookedUpEvent) []string { return []string{e.AccessKeyID} }},
	{"ResourceType", func(e lookedUpEvent) (all []string) {
		for _, r := range e.Resources {
			all = append(all, r.ResourceType)
		}
		return all
	}},
	{"ResourceName", func(e lookedUpEvent) (all []string) {
		for _, r := range e.Resources {
			all = append(all, r.ResourceName)
		}
		return all
	}},
}

// lookupEvents returns a page of events, the newest ones first. The token of the next
// page contains the number of the last event on the page, so that new events and the
// removal of old ones do not change the following pages.
func (s *Server) lookupEvents(q *rpcRequest) (any, error) {
	var in lookupInput
	if err := q.input(&in); err != nil {
		return nil, err
	}
	size := maxTrailResults
	if in.MaxResults != nil {
		size = *in.MaxResults
	}
	if size < 1 || size > maxTrailResults {
		return nil, refuse(codeTrailResults, msgTrailResults, size, maxTrailResults)
	}
	if err := in.checkAttributes(); err != nil {
		return nil, refuse(codeTrailAttributes, msgTrailAttribute, err)
	}
	if err := in.checkTimes(); err != nil {
		return nil, refuse(codeTrailTimes, msgTrailTimes, err)
	}
	query, err := in.query()
	if err != nil {
		return nil, err
	}
	before, ok := s.openToken(query, in.NextToken)
	if in.NextToken != "" && !ok {
		return nil, refuse(codeTrailToken, msgToken)
	}
	out := &lookupOutput{Events: []lookedUpEvent{}}
	switch in.Category {
	case "":
	case "insight": // the emulator has no such events
		return out, nil
	default:
		return nil, refuse(codeTrailCategory, msgTrailCategory, clip(in.Category))
	}
	var last uint64
	for _, r := range s.newestEvents() {
		if in.NextToken != "" && r.number >= before {
			continue
		}
		e, err := lookedUp(r.record)
		if err != nil {
			return nil, err
		}
		if !in.selects(e) {
			continue
		}
		if len(out.Events) == size {
			out.NextToken = s.pageToken(query, last)
			break
		}
		out.Events, last = append(out.Events, e), r.number
	}
	return out, nil
}

// newestEvents returns all events, the newest one first. They do not change, so that they
// can be read without a lock.
func (s *Server) newestEvents() []keptEvent {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.AppendSeq(make([]keptEvent, 0, s.history.size()), s.history.newest())
}

func (in lookupInput) checkAttributes() error {
	if len(in.Attributes) == 0 {
		return nil
	}
	if len(in.Attributes) > 1 {
		return errors.New("only one is allowed")
	}
	a := in.Attributes[0]
	switch {
	case lookupValues.Get(a.Key) == nil:
		return fmt.Errorf("there is no attribute %q", clip(a.Key))
	case a.Value == "":
		return fmt.Errorf("the value of %s is empty", a.Key)
	case a.Key == "ReadOnly" && a.Value != "true" && a.Value != "false":
		return fmt.Errorf("the value of ReadOnly is %q, not true or false", clip(a.Value))
	}
	return nil
}

func (in lookupInput) checkTimes() error {
	for _, t := range []*float64{in.StartTime, in.EndTime} {
		if t != nil && (*t < 0 || *t > maxTrailTime) {
			return fmt.Errorf("%v is not between 0 and %d seconds since 1970", *t, int64(maxTrailTime))
		}
	}
	if in.StartTime != nil && in.EndTime != nil && *in.StartTime > *in.EndTime {
		return errors.New("the start is after the end")
	}
	return nil
}

// query returns the part of the input that is the same for all pages.
func (in lookupInput) query() (string, error) {
	in.MaxResults, in.NextToken = nil, ""
	b, err := json.Marshal(in)
	return sourceCloudTrail + string(b), err
}

// selects reports whether e has the attribute and is in the time range, whose ends belong
// to it.
func (in lookupInput) selects(e lookedUpEvent) bool {
	for _, a := range in.Attributes {
		if !slices.Contains(lookupValues.Get(a.Key)(e), a.Value) {
			return false
		}
	}
	return (in.StartTime == nil || float64(e.EventTime) >= *in.StartTime) && (in.EndTime == nil || float64(e.EventTime) <= *in.EndTime)
}

// lookedUp returns the event of a record. The user name of a session is its own name; the
// service model only says that it is a user or role name. Resources are those of the
// record. AWS lists more ones, which it does not document.
func lookedUp(record json.RawMessage) (lookedUpEvent, error) {
	var r struct {
		EventID      string
		EventName    string
		EventSource  string
		EventTime    time.Time
		ReadOnly     bool
		UserIdentity userIdentity
		Resources    []eventResource
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return lookedUpEvent{}, err
	}
	e := lookedUpEvent{
		EventID: r.EventID, EventName: r.EventName, EventSource: r.EventSource, EventTime: r.EventTime.Unix(),
		Username: r.UserIdentity.UserName, AccessKeyID: r.UserIdentity.AccessKeyID, ReadOnly: fmt.Sprint(r.ReadOnly),
		Resources: []lookedUpResource{}, CloudTrailEvent: string(record),
	}
	if r.UserIdentity.Session != nil {
		e.Username = lastElement(r.UserIdentity.ARN)
	}
	for _, v := range r.Resources {
		e.Resources = append(e.Resources, lookedUpResource{v.Type, v.ARN})
	}
	return e, nil
}
