package flags

import (
	"slices"
	"strings"
)

// JoinSelector returns a command line in which the selector of --cert-selector is
// one argument. The documentation of aws_signing_helper shows it without quotes,
// so that a shell splits it before each further Key=.
func JoinSelector(args []string) []string {
	const flag, part = "--cert-selector", "Key="
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	var joined []string
	inSelector := false
	for i, arg := range args[:end] {
		isPart := strings.HasPrefix(arg, part)
		switch {
		case isPart && inSelector:
			joined[len(joined)-1] += " " + arg
			continue
		case isPart && i > 0 && args[i-1] == flag, strings.HasPrefix(arg, flag+"="+part):
			inSelector = true
		default:
			inSelector = false
		}
		joined = append(joined, arg)
	}
	return append(joined, args[end:]...)
}
