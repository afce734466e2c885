package lazyregexp

import (
	"sync"
	"testing"
)

func TestGet(t *testing.T) {
	r := Regexp{Expression: "^a+$"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if !r.Get().MatchString("aa") || r.Get().MatchString("b") {
				t.Error("the expression matches otherwise")
			}
		})
	}
	wg.Wait()
	first, again := r.Get(), r.Get()
	if first != again {
		t.Error("it was compiled twice")
	}
}
