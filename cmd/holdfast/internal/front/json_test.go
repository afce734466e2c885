package front

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestWriteJSON(t *testing.T) {
	want := map[string]string{"name\u0085": "é\u009b31m\u202ea\u2066\x7f\x1b\n\U000e0001\u200e 漢"}
	var b strings.Builder
	if err := WriteJSON(&b, want); err != nil {
		t.Fatal(err)
	}
	line, ok := strings.CutSuffix(b.String(), "\n")
	if !ok || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(line, "é") {
		t.Errorf("wrote %q", b.String())
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(line), &got); err != nil || len(got) != 1 || got["name\u0085"] != want["name\u0085"] {
		t.Errorf("read %q, %v", got, err)
	}
	if err := WriteJSON(&b, func() {}); err == nil {
		t.Error("no error for a function")
	}
}
