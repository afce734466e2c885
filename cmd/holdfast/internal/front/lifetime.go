package front

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// ParseLifetime parses a duration of at least a second; the unit d is a day. name is
// that of the flag or the key of the configuration, for errors.
func ParseLifetime(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n > int(math.MaxInt64/(24*time.Hour)) {
			n = 0
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err == nil && d >= time.Second {
		return d, nil
	}
	why, hint := "is shorter than a second", "write a duration as 90d, 12h or 45m"
	if err != nil {
		why = "is not a duration"
		if _, isNumber := strconv.Atoi(text); isNumber == nil {
			why = "has no unit"
		} else if _, notDate := time.Parse(time.DateOnly, text[:min(len(text), len(time.DateOnly))]); notDate == nil {
			why, hint = "is a date, not a duration", "write the number of days, such as 33d"
		} else if days := daysOf(text); days > 0 {
			hint = fmt.Sprintf("write %dd; the units are d, h, m and s", days)
		}
	}
	return 0, signer.WithHint(Usagef("%s %q %s", name, keystore.Excerpt(text), why), hint)
}

var longUnit = lazyregexp.Regexp{Expression: `^([0-9]{1,4}) ?(d|w|mo|y)[a-z]*$`}

// daysOf returns the days in a duration with a unit that ParseLifetime does not
// accept, such as 2y or 30 days, and 0 for any other text.
func daysOf(text string) int {
	m := longUnit.Get().FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // digits
	return n * map[string]int{"d": 1, "w": 7, "mo": 30, "y": 365}[m[2]]
}
