package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// pageName returns the name of the page of a command, such as holdfast-ca-issue.
func pageName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "-")
}

// commandPages returns the pages of cmd and the commands below it, by their names.
func commandPages(cmd *cobra.Command) map[string]string {
	pages := map[string]string{pageName(cmd): commandPage(cmd)}
	for _, s := range front.CommandSections(cmd) {
		for _, c := range s.Commands {
			for name, text := range commandPages(c) {
				pages[name] = text
			}
		}
	}
	return pages
}

func commandPage(cmd *cobra.Command) string {
	var p page
	p.macro("SH", "NAME")
	p.line(escape(pageName(cmd)) + ` \- ` + escape(lowerFirst(cmd.Short)))
	p.macro("SH", "SYNOPSIS")
	if cmd.Runnable() {
		p.line(synopsis(cmd.CommandPath(), cmd.UseLine()))
	}
	if cmd.HasAvailableSubCommands() {
		p.macro("br")
		p.line(synopsis(cmd.CommandPath(), cmd.CommandPath()+" command [flags]"))
	}
	p.macro("SH", "DESCRIPTION")
	p.paragraphs(description(cmd))
	subcommands(&p, cmd)
	options(&p, cmd.Flags())
	if cmd.Example != "" {
		p.macro("SH", "EXAMPLES")
		p.verbatim(cmd.Example)
	}
	exitStatus(&p, cmd)
	list(&p, "ENVIRONMENT", variables, cmd)
	list(&p, "FILES", files, cmd)
	seeAlso(&p, cmd)
	return p.String()
}

// exitCodes is a paragraph of the help that a page has as a section.
var exitCodes = regexp.MustCompile(`(?m)\n\nExit codes: (.+\n?)+`)

// description returns the long description of a command, or its short one as a
// sentence.
func description(cmd *cobra.Command) string {
	if cmd.Long == "" {
		return cmd.Short + "."
	}
	return exitCodes.ReplaceAllString(cmd.Long, "")
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// placeholder is a word of a synopsis that stands for another.
var placeholder = regexp.MustCompile(`[A-Za-z]+`)

// synopsis returns a usage line with the path of the command in bold and its
// placeholders in italics.
func synopsis(path, line string) string {
	rest := strings.TrimPrefix(line, path)
	var b strings.Builder
	b.WriteString(bold(path))
	last := 0
	for _, m := range placeholder.FindAllStringIndex(rest, -1) {
		b.WriteString(escape(rest[last:m[0]]) + italic(rest[m[0]:m[1]]))
		last = m[1]
	}
	b.WriteString(escape(rest[last:]))
	return b.String()
}

func subcommands(p *page, cmd *cobra.Command) {
	sections := front.CommandSections(cmd)
	if len(sections) == 0 {
		return
	}
	p.macro("SH", "COMMANDS")
	for _, s := range sections {
		if len(sections) > 1 {
			p.macro("SS", s.Title)
		}
		for _, c := range s.Commands {
			p.macro("TP")
			p.line(bold(pageName(c)) + "(1)")
			p.text(c.Short)
		}
	}
}

func options(p *page, fs *pflag.FlagSet) {
	p.macro("SH", "OPTIONS")
	sections := front.FlagSections(fs)
	for _, s := range sections {
		if len(sections) > 1 {
			p.macro("SS", s.Title)
		}
		for _, f := range s.Flags {
			option(p, f)
		}
	}
}

func option(p *page, f *pflag.Flag) {
	value, text := front.DescribeFlag(f)
	label := bold("--" + f.Name)
	if f.Shorthand != "" {
		label = bold("-"+f.Shorthand) + ", " + label
	}
	switch {
	case value == "":
	case f.NoOptDefVal != "":
		label += "[=" + italic(value) + "]"
	default:
		label += " " + italic(value)
	}
	p.macro("TP")
	p.line(label)
	p.text(text)
	if values := front.FlagValues(f); len(values) > 0 && !named(text, values) {
		p.text("Values: " + strings.Join(values, ", ") + ".")
	}
}

// named reports whether a text has all values.
func named(text string, values []string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !strings.Contains(text, v) })
}

func exitStatus(p *page, cmd *cobra.Command) {
	p.macro("SH", "EXIT STATUS")
	for _, e := range front.ExitMeanings {
		if e.Code == front.ExitOverdue && cmd.Name() != "renew" && cmd.HasParent() {
			continue
		}
		p.macro("TP", "4")
		p.line(bold(strconv.Itoa(e.Code)))
		p.text(e.Meaning)
	}
}

// list writes the entries of a table that apply to a command.
func list(p *page, title string, entries []entry, cmd *cobra.Command) {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return !e.appliesTo(cmd) })
	for i, e := range entries {
		if i == 0 {
			p.macro("SH", title)
		}
		p.macro("TP")
		p.line(bold(e.name))
		p.text(e.text)
	}
}

// seeAlso writes the command above and those below or beside this one.
func seeAlso(p *page, cmd *cobra.Command) {
	var names []string
	add := func(parent *cobra.Command) {
		for _, s := range front.CommandSections(parent) {
			for _, c := range s.Commands {
				names = append(names, pageName(c))
			}
		}
	}
	switch {
	case !cmd.HasParent():
		names = []string{"holdfast-ecp", "holdfast-pkcs11"}
	case cmd.HasAvailableSubCommands():
		names = []string{pageName(cmd.Parent())}
		add(cmd)
	case cmd.Parent().HasParent():
		names = []string{pageName(cmd.Parent())}
		add(cmd.Parent())
	default:
		names = []string{pageName(cmd.Parent()), "holdfast-doctor"}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == pageName(cmd) })
	p.macro("SH", "SEE ALSO")
	for i, name := range names {
		end := ","
		if i == len(names)-1 {
			end = ""
		}
		p.line(bold(name) + "(1)" + end)
	}
	p.macro("PP")
	p.text("The pages in docs/ are at " + docs)
}

const docs = "https://github.com/holdfast-dev/holdfast/tree/main/docs"
