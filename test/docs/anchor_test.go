package docs

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSlug(t *testing.T) {
	tests := map[string]string{
		"# Two words":                     "two-words",
		"## 1. Bind the API":              "1-bind-the-api",
		"## `kubectl logs` & co.":         "kubectl-logs--co",
		"### What is _not_ synced?":       "what-is-_not_-synced",
		"# A-B: c/d (e)":                  "a-b-cd-e",
		"## See [the glossary](x.md#y) !": "see-the-glossary-",
		"## Closed ##":                    "closed",
		"# Größe":                         "größe",
	}
	for heading, want := range tests {
		t.Run(heading, func(t *testing.T) {
			if got := slug(heading); got != want {
				t.Errorf("slug(%q) = %q, want %q", heading, got, want)
			}
		})
	}
}

func TestAnchors(t *testing.T) {
	p := newPage("x.md", "# One\n\n## Two\n\n## Two\n\n## Two\n\n```\n# code\n```\n\n<a id=\"here\"></a> text\n")
	want := []string{"here", "one", "two", "two-1", "two-2"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(anchors(p)))); diff != "" {
		t.Error(diff)
	}
}
