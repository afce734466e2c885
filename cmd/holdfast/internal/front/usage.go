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

// A CommandSection is a heading of the help and the commands below it.
type CommandSection struct {
	Title    string
	Commands []*cobra.Command
}

// CommandSections returns the visible subcommands of cmd in the order of the help.
// Those without a group are at the end.
func CommandSections(cmd *cobra.Command) (sections []CommandSection) {
	byGroup := make(map[string][]*cobra.Command)
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			byGroup[c.GroupID] = append(byGroup[c.GroupID], c)
		}
	}
	ungrouped := "Commands"
	if len(cmd.Groups()) > 0 {
		ungrouped = "Other commands"
	}
	for _, g := range append(slices.Clone(cmd.Groups()), &cobra.Group{Title: ungrouped}) {
		if len(byGroup[g.ID]) > 0 {
			sections = append(sections, CommandSection{g.Title, byGroup[g.ID]})
		}
	}
	return sections
}

func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	sections, width := CommandSections(cmd), 0
	for _, s := range sections {
		for _, c := range s.Commands {
			width = max(width, len(c.Name()))
		}
	}
	for _, s := range sections {
		fmt.Fprintf(b, "\n%s:\n", s.Title)
		for _, c := range s.Commands {
			fmt.Fprintf(b, "  %-*s  %s\n", width, c.Name(), c.Short)
		}
	}
}

func writeFlags(b *strings.Builder, fs *pflag.FlagSet) {
	for _, s := range FlagSections(fs) {
		fmt.Fprintf(b, "\n%s:\n", s.Title)
		for _, f := range s.Flags {
			writeFlag(b, f)
		}
	}
}

// writeFlag writes a flag and its description, to the right if there is space
// or below.
func writeFlag(b *strings.Builder, f *pflag.Flag) {
	name, text := DescribeFlag(f)
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
	lines := Wrap(text, columns-textColumn)
	if utf8.RuneCountInString(left) > textColumn-2 {
		b.WriteString(left + "\n")
		left = ""
	}
	for _, line := range lines {
		fmt.Fprintf(b, "%-*s%s\n", textColumn, left, line)
		left = ""
	}
}

// Wrap breaks text between words into lines of at most width characters. A
// longer word has a line of its own.
func Wrap(text string, width int) (lines []string) {
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
