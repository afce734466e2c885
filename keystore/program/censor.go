package program

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"
)

// A censor removes the PINs that a program got from what is quoted of it: a program that
// prints its requests must not bring them into errors and the log. It knows a PIN as it is
// and as JSON has it, and no other form. nil and the zero value remove nothing. It is safe
// for concurrent use.
type censor struct {
	mu    sync.Mutex
	forms []string // of the PINs
}

// maxForms bounds the forms. A program that got more PINs has refused the first ones.
const maxForms = 32

// removed stands for a PIN.
const removed = "[PIN]"

// add makes c remove a PIN.
func (c *censor) add(pin string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, form := range []string{pin, inJSON(pin, false), inJSON(pin, true), inASCII(pin)} {
		if form != "" && !slices.Contains(c.forms, form) {
			c.forms = append(c.forms, form)
		}
	}
	c.forms = c.forms[max(len(c.forms)-maxForms, 0):]
}

// excerpt is [excerpt] without the PINs.
func (c *censor) excerpt(s string) string {
	if c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, form := range c.forms {
			s = strings.ReplaceAll(s, form, removed)
		}
	}
	return excerpt(s)
}

// longest returns the length of the longest form in bytes.
func (c *censor) longest() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, form := range c.forms {
		n = max(n, len(form))
	}
	return n
}

// inJSON returns what stands between the quotation marks of a JSON string.
func inJSON(s string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	_ = e.Encode(s) // never fails
	quoted := strings.TrimSuffix(b.String(), "\n")
	return quoted[1 : len(quoted)-1]
}

// inASCII is inJSON with only ASCII characters, as many programs write it.
func inASCII(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(inJSON(s, false))) {
		if u < 0x80 {
			b.WriteByte(byte(u))
		} else {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}
