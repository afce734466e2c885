package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// explainDenial adds to the error of a trust policy which statements do not apply, and
// why. It returns any other error unchanged.
func explainDenial(p *trustpolicy.Policy, r trustpolicy.Request, err error) error {
	var denied *trustpolicy.DeniedError
	if !errors.As(err, &denied) {
		return err
	}
	var why []string
	for _, s := range p.Explain(r) {
		switch {
		case s.Deny && denied.Explicit && s.Applies():
			why = append(why, fmt.Sprintf("statement %d denies it", s.Number))
		case s.Deny || denied.Explicit:
		case !s.Principal:
			principals := cmp.Or(strings.Join(p.Principals(s.Number), ", "), "of another type")
			caller := cmp.Or(r.Principal.Service, r.Principal.SessionARN, r.Principal.UserARN)
			why = append(why, fmt.Sprintf("statement %d has the principal %s; the caller is %s", s.Number, principals, caller))
		case !slices.Contains(s.Actions, denied.Action):
			why = append(why, fmt.Sprintf("statement %d does not include the action", s.Number))
		default:
			for _, c := range s.Conditions {
				if !c.Met {
					why = append(why, fmt.Sprintf("statement %d %s", s.Number, c))
					break
				}
			}
		}
	}
	if len(why) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(why, "; "))
}
