package front

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	columns    = 80 // width of help texts
	textColumn = 28 // first column of the descriptions of flags
)

// usage prints the usage of a command. It replaces the usage of cobra, which
// neither wraps nor groups flags.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	writeCommands(&b, cmd)
	writeFlags(&b, cmd.Flags())
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// writeCommands lists the subcommands by group. Subcommands without a group are
// at the end.
func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	width := 0
	byGroup := make(map[string][]*cobra.Command)
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			byGroup[c.GroupID] = append(byGroup[c.GroupID], c)
			width = max(width, len(c.Name()))
		}
	}
	ungrouped := "Commands"
	if len(cmd.Groups()) > 0 {
		ungrouped = "Other commands"
	}
	for _, g := range append(slices.Clone(cmd.Groups()), &cobra.Group{Title: ungrouped}) {
		if len(byGroup[g.ID]) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n%s:\n", g.Title)
		for _, c := range byGroup[g.ID] {
			fmt.Fprintf(b, "  %-*s  %s\n", width, c.Name(), c.Short)
		}
	}
}

// writeFlags lists the flags by group. Flags without a group are at the end.
func writeFlags(b *strings.Builder, fs *pflag.FlagSet) {
	byGroup := make(map[FlagGroup][]*pflag.Flag)
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			byGroup[groupOf(f)] = append(byGroup[groupOf(f)], f)
		}
	})
	for _, g := range append(slices.Clone(flagGroups), "") {
		flags := byGroup[g]
		if len(flags) == 0 {
			continue
		}
		if g == "" {
			g = "Flags"
			if len(byGroup) > 1 {
				g = "Other flags"
			}
		}
		fmt.Fprintf(b, "\n%s:\n", g)
		for _, f := range flags {
			writeFlag(b, f)
		}
	}
}

// writeFlag writes a flag and its description, to the right if there is space
// or below.
func writeFlag(b *strings.Builder, f *pflag.Flag) {
	name, text := pflag.UnquoteUsage(f)
	left := "  --" + f.Name
	if f.Shorthand != "" {
		left = "  -" + f.Shorthand + ", --" + f.Name
	}
	switch {
	case name == "":
	case f.NoOptDefVal != "":
		left += "[=" + name + "]"
	default:
		left += " " + name
	}
	if !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) {
		text += " (default: " + f.DefValue + ")"
	}
	lines := wrap(text, columns-textColumn)
	if utf8.RuneCountInString(left) > textColumn-2 {
		b.WriteString(left + "\n")
		left = ""
	}
	for _, line := range lines {
		fmt.Fprintf(b, "%-*s%s\n", textColumn, left, line)
		left = ""
	}
}

// wrap breaks text between words into lines of at most width characters. A
// longer word has a line of its own.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line+" "+word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
