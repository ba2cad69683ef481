package main

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const constantSource = `package v1

// Condition types.
const (
	// ConditionReady says whether it is.
	// LabelKey has more.
	ConditionReady = "Ready"
	Undocumented   = "Undocumented"
)

// Reasons of Ready.
const (
	// ReasonReady: it is.
	ReasonReady = "Ready"
	// ReasonLost: see ReasonReady.
	ReasonLost = "Gone"
	// number: a number.
	Number = 1
)

// ReasonEvent is an event.
const ReasonEvent = "Event"

const prefix = "example.com/"

// LabelKey marks *things*.
const LabelKey = prefix + "key"
`

func TestDocumentedConstants(t *testing.T) {
	want := []constant{
		{Name: "ConditionReady", Value: "Ready", Group: "Condition types.", Comment: "`Ready` says whether it is. `example.com/key` has more."},
		{Name: "ReasonReady", Value: "Ready", Group: "Reasons of Ready.", Comment: "It is."},
		{Name: "ReasonLost", Value: "Gone", Group: "Reasons of Ready.", Comment: "See `Ready`."},
		{Name: "ReasonEvent", Value: "Event", Comment: "`Event` is an event."},
		{Name: "LabelKey", Value: "example.com/key", Comment: "`example.com/key` marks \\*things\\*."},
	}
	if diff := cmp.Diff(want, constantsOf(t, constantSource)); diff != "" {
		t.Error(diff)
	}
}

func TestDocumentedConstantsRefusesWhatItCannotRead(t *testing.T) {
	p, err := parsePackage(fstest.MapFS{"p/a.go": {Data: []byte("package p\n\n// A is it.\nconst A = \"a\" + other.B\n")}}, "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := documentedConstants(p); err == nil {
		t.Error("documentedConstants() = nil, want an error")
	}
}

func TestGroups(t *testing.T) {
	a, b, c, d := constant{Name: "a", Group: "one"}, constant{Name: "b"}, constant{Name: "c", Group: "two"}, constant{Name: "d", Group: "one"}
	want := [][]constant{{a, d}, {c}, {b}}
	if diff := cmp.Diff(want, groups([]constant{a, b, c, d})); diff != "" {
		t.Error(diff)
	}
}

func constantsOf(t *testing.T, source string) []constant {
	t.Helper()
	p, err := parsePackage(fstest.MapFS{"p/a.go": {Data: []byte(source)}}, "p")
	if err != nil {
		t.Fatal(err)
	}
	constants, err := documentedConstants(p)
	if err != nil {
		t.Fatal(err)
	}
	return constants
}
