package docs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const reasonSource = `package v1alpha1

const ConditionReady = "Ready"

const (
	// ReasonReady: it is.
	ReasonReady = "AllGood"
	ReasonLost  = "Lost"
)
`

func TestReasonConstants(t *testing.T) {
	want := []constant{{"ReasonReady", "AllGood", 7}, {"ReasonLost", "Lost", 8}}
	got, err := reasonConstants("x.go", []byte(reasonSource))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReasonConstantsOfABrokenFile(t *testing.T) {
	if _, err := reasonConstants("x.go", []byte("package")); err == nil {
		t.Error("reasonConstants() = nil, want the error of the parser")
	}
}

func TestCheckReasons(t *testing.T) {
	reasons := []constant{{"ReasonReady", "AllGood", 7}, {"ReasonLost", "Lost", 8}}
	got := checkReasons("x.go", reasons, newPage("docs/troubleshoot.md", "- `AllGood`: nothing to do. Lost is not in backquotes.\n"))
	want := []problem{{Path: "x.go", Line: 8, Text: "`Lost` (ReasonLost) is not in docs/troubleshoot.md; " +
		"add what it means and what to do about it"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
