package emulator

import (
	"cmp"
	"slices"
)

// The events and channels of notification settings.
var (
	notificationEvents   = []string{"CA_CERTIFICATE_EXPIRY", "END_ENTITY_CERTIFICATE_EXPIRY"}
	notificationChannels = []string{"ALL"}
)

const (
	defaultThreshold = 45 // days
	maxThreshold     = 360
	byService        = "rolesanywhere.amazonaws.com"
)

// notifications returns the settings of a: those set, and the defaults of the others.
func (a *anchor) notifications() []notificationSetting {
	all := make([]notificationSetting, 0, len(notificationEvents))
	for _, event := range notificationEvents {
		setting := notificationSetting{Channel: notificationChannels[0], ConfiguredBy: byService, Enabled: true, Event: event, Threshold: defaultThreshold}
		for _, own := range a.Notifications {
			if own.Event == event {
				setting = own
			}
		}
		all = append(all, setting)
	}
	return all
}

// A notificationInput is a notification setting in a request.
type notificationInput struct {
	Channel   string `json:"channel"`
	Enabled   *bool  `json:"enabled"`
	Event     string `json:"event"`
	Threshold *int   `json:"threshold"` // required if enabled
}

// notify checks settings and adds them to those of a, which it may not share.
func (a *anchor) notify(settings []notificationInput) error {
	if len(settings) > maxSettings {
		return tooLong("notificationSettings", maxSettings)
	}
	own := slices.Clone(a.Notifications)
	for _, in := range settings {
		if err := checkNotification(in.Event, in.Channel); err != nil {
			return err
		}
		if in.Enabled == nil {
			return missing("notificationSettings.enabled")
		}
		n := notificationSetting{
			Channel: cmp.Or(in.Channel, notificationChannels[0]), ConfiguredBy: a.account(), Enabled: *in.Enabled, Event: in.Event,
		}
		switch {
		case in.Threshold != nil:
			n.Threshold = *in.Threshold
			if err := between("notificationSettings.threshold", n.Threshold, 1, maxThreshold); err != nil {
				return err
			}
		case n.Enabled:
			return missing("notificationSettings.threshold")
		}
		own = slices.DeleteFunc(own, func(o notificationSetting) bool { return o.Event == n.Event })
		own = append(own, n)
	}
	a.Notifications = own
	return nil
}

func checkNotification(event, channel string) error {
	if err := oneOf("event", event, notificationEvents); err != nil {
		return err
	}
	if channel == "" {
		return nil
	}
	return oneOf("channel", channel, notificationChannels)
}

func (s *Server) putNotificationSettings(c *controlRequest) (any, error) {
	var in struct {
		Settings      []notificationInput `json:"notificationSettings"`
		TrustAnchorID string              `json:"trustAnchorId"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	if in.TrustAnchorID == "" {
		return nil, missing("trustAnchorId")
	}
	if in.Settings == nil {
		return nil, missing("notificationSettings")
	}
	return anchorKind.change(s, c, in.TrustAnchorID, func(_ *changes, old *anchor) (*anchor, error) {
		a := old.with(func(r *resource) { r.Updated = c.now })
		return a, a.notify(in.Settings)
	})
}

func (s *Server) resetNotificationSettings(c *controlRequest) (any, error) {
	var in struct {
		Keys []struct {
			Channel string `json:"channel"`
			Event   string `json:"event"`
		} `json:"notificationSettingKeys"`
		TrustAnchorID string `json:"trustAnchorId"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	if in.TrustAnchorID == "" {
		return nil, missing("trustAnchorId")
	}
	if in.Keys == nil {
		return nil, missing("notificationSettingKeys")
	}
	if len(in.Keys) > maxSettings {
		return nil, tooLong("notificationSettingKeys", maxSettings)
	}
	return anchorKind.change(s, c, in.TrustAnchorID, func(_ *changes, old *anchor) (*anchor, error) {
		a := old.with(func(r *resource) { r.Updated = c.now })
		a.Notifications = slices.Clone(a.Notifications)
		for _, k := range in.Keys {
			if err := checkNotification(k.Event, k.Channel); err != nil {
				return nil, err
			}
			a.Notifications = slices.DeleteFunc(a.Notifications, func(n notificationSetting) bool { return n.Event == k.Event })
		}
		return a, nil
	})
}
