package authority

import (
	"errors"
	"testing"
)

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"n":1,"previous":"","time":"2026-01-01T00:00:00Z","event":"create","version":1,"ca":"00"}` + "\n"))
	f.Add([]byte("{}\n"))
	first := `{"n":1,"previous":"","time":"2026-01-01T00:00:00Z","event":"create","version":1,"ca":"00"}`
	second := `{"n":2,"previous":"` + hashOf([]byte(first)) + `","time":"2026-01-01T00:00:00Z","event":"issue","serial":"07"}`
	f.Add([]byte(first + "\n" + second + "\n" + `{"n":3,"previous":"` + hashOf([]byte(second)) + `","time":"2026-01-01T00:00:00Z","event":"issue","serial":"08","renews":"07","request":"` + hashOf(nil) + `"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x := newState()
		err := x.add(data)
		if err != nil && !errors.Is(err, ErrIndex) {
			t.Fatal(err)
		}
		if err == nil && x.size != int64(len(data)) || len(x.serials) != len(x.certificates) {
			t.Fatalf("%d of %d bytes, %d serial numbers, %d certificates", x.size, len(data), len(x.serials), len(x.certificates))
		}
		for _, c := range x.certificates {
			if !isSerial(c.Serial) || c.Renews != "" && x.certificates[c.Renews] == nil || x.certificates[c.Line] == nil {
				t.Fatalf("serial number %q renews %q in the line of %q", c.Serial, c.Renews, c.Line)
			}
		}
	})
}
