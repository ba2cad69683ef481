package cache

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

func at(version string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetNamespace("n")
	o.SetName("a")
	o.SetResourceVersion(version)
	return o
}

func TestAssumed(t *testing.T) {
	tests := map[string]struct {
		reason  string
		watched *unstructured.Unstructured
		act     func(o *Assumed, clock *clocktesting.FakeClock)
		want    string
		ahead   bool
	}{
		"nothing":   {"", nil, func(*Assumed, *clocktesting.FakeClock) {}, "", false},
		"watched":   {"", at("1"), func(*Assumed, *clocktesting.FakeClock) {}, "1", false},
		"written":   {"The watch lags behind.", at("1"), func(o *Assumed, _ *clocktesting.FakeClock) { o.Assume("n/a", at("2"), true) }, "2", true},
		"created":   {"The watch has yet to show it.", nil, func(o *Assumed, _ *clocktesting.FakeClock) { o.Assume("n/a", at("2"), true) }, "2", true},
		"overtaken": {"As numbers, not as text.", at("10"), func(o *Assumed, _ *clocktesting.FakeClock) { o.Assume("n/a", at("9"), true) }, "10", false},
		"deleted":   {"The watch has shown its end.", nil, func(o *Assumed, _ *clocktesting.FakeClock) { o.Assume("n/a", at("2"), true); o.Forget("n/a") }, "", false},
		"out of date": {"A watch that shows nothing for so long is right.", nil, func(o *Assumed, c *clocktesting.FakeClock) {
			o.Assume("n/a", at("2"), true)
			c.Step(AssumedLifetime + 1)
		}, "", false},
		"no number": {"The watch is believed.", at("b"), func(o *Assumed, _ *clocktesting.FakeClock) { o.Assume("n/a", at("c"), true) }, "b", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Now())
			store := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
			if tc.watched != nil {
				if err := store.Add(mustPack(t, tc.watched)); err != nil {
					t.Fatal(err)
				}
			}
			o := NewAssumed(store, clock)
			tc.act(o, clock)
			object, ahead := o.Get("n/a")
			got := ""
			if object != nil {
				got = object.GetResourceVersion()
			}
			if got != tc.want || ahead != tc.ahead {
				t.Errorf("%s\nget() = version %q, ahead %t, want %q, %t", tc.reason, got, ahead, tc.want, tc.ahead)
			}
		})
	}
}

// TestDelivered: an event that shows just what a pass has written, and acted upon, brings nobody back; any other does.
func TestDelivered(t *testing.T) {
	tests := map[string]struct {
		reason string
		act    func(o *Assumed)
		event  string
		want   bool
	}{
		"not ours":    {"", func(*Assumed) {}, "1", true},
		"ours":        {"", func(o *Assumed) { o.Assume("n/a", at("2"), true) }, "2", false},
		"older":       {"Somebody else's, between what was read and what was written.", func(o *Assumed) { o.Assume("n/a", at("3"), true) }, "2", true},
		"newer":       {"", func(o *Assumed) { o.Assume("n/a", at("2"), true) }, "3", true},
		"unlooked-at": {"The answer may hold what the pass did not know.", func(o *Assumed) { o.Assume("n/a", at("2"), false) }, "2", true},
		"again":       {"A list after a lost watch: everything is looked at.", func(o *Assumed) { o.Assume("n/a", at("2"), true); o.delivered("n/a", "2") }, "2", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := NewAssumed(toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), clocktesting.NewFakeClock(time.Now()))
			tc.act(o)
			if got := o.delivered("n/a", tc.event); got != tc.want {
				t.Errorf("%s\ndelivered() = %t, want %t", tc.reason, got, tc.want)
			}
			if w, left := o.assumed["n/a"]; left && w.object.GetResourceVersion() == tc.event {
				t.Error("what the watch has delivered is still kept")
			}
		})
	}
}
