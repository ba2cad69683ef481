package markdown

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		reason string
		page   []string
		want   []Block
	}{
		"Blocks": {
			reason: "a heading ends at its line, other blocks at a blank line",
			page:   []string{"# Title", "one", "two", "", "three"},
			want: []Block{
				{Kind: Heading, Line: 1, Lines: []string{"# Title"}},
				{Kind: Paragraph, Line: 2, Lines: []string{"one", "two"}},
				{Kind: Paragraph, Line: 5, Lines: []string{"three"}},
			},
		},
		"Items": {
			reason: "each item is a block of its own, also a nested one; an indented paragraph after a blank line is not part of it",
			page:   []string{"- one", "  more", "  - nested", "1. first", "", "   apart"},
			want: []Block{
				{Kind: Item, Line: 1, Lines: []string{"- one", "  more"}},
				{Kind: Item, Line: 3, Lines: []string{"  - nested"}},
				{Kind: Item, Line: 4, Lines: []string{"1. first"}},
				{Kind: Paragraph, Line: 6, Lines: []string{"   apart"}},
			},
		},
		"Emphasis": {
			reason: "bold text at the beginning of a line is no item, and a hash without a blank no heading",
			page:   []string{"**bold**", "#1 of many"},
			want:   []Block{{Kind: Paragraph, Line: 1, Lines: []string{"**bold**", "#1 of many"}}},
		},
		"Table": {
			page: []string{"text", "| a | b |", "|---|---|", "more"},
			want: []Block{
				{Kind: Paragraph, Line: 1, Lines: []string{"text"}},
				{Kind: Table, Line: 2, Lines: []string{"| a | b |", "|---|---|"}},
				{Kind: Paragraph, Line: 4, Lines: []string{"more"}},
			},
		},
		"Code": {
			reason: "code is not interpreted, and its line is that of its first line",
			page:   []string{"text", "```console run", "# no heading", "", "```", "after"},
			want: []Block{
				{Kind: Paragraph, Line: 1, Lines: []string{"text"}},
				{Kind: Code, Line: 3, Info: "console run", Lines: []string{"# no heading", ""}},
				{Kind: Paragraph, Line: 6, Lines: []string{"after"}},
			},
		},
		"NestedFence": {
			reason: "a longer fence holds shorter ones",
			page:   []string{"````", "```go", "```", "````"},
			want:   []Block{{Kind: Code, Line: 2, Lines: []string{"```go", "```"}}},
		},
		"OpenFence": {
			reason: "a fence that is never closed holds the rest of the page",
			page:   []string{"~~~", "code", "# code"},
			want:   []Block{{Kind: Code, Line: 2, Lines: []string{"code", "# code"}}},
		},
		"Comment": {
			page: []string{"<!-- one line -->", "text", "<!--", "", "# hidden", "-->", "# Title"},
			want: []Block{
				{Kind: Comment, Line: 1, Lines: []string{"<!-- one line -->"}},
				{Kind: Paragraph, Line: 2, Lines: []string{"text"}},
				{Kind: Comment, Line: 3, Lines: []string{"<!--", "", "# hidden", "-->"}},
				{Kind: Heading, Line: 7, Lines: []string{"# Title"}},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Parse(strings.Join(tt.page, "\n"))); diff != "" {
				t.Errorf("%s\n%s", tt.reason, diff)
			}
		})
	}
}
