package console

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		reason string
		page   []string
		want   []Command
	}{
		"Output": {
			reason: "the lines after a command are its output, up to the next command",
			page:   []string{"# Page", "", "```console run", "$ one", "1", "", "2", "$ two", "```"},
			want: []Command{
				{Page: "x.md", Line: 4, Text: "one", Want: []string{"1", "", "2"}},
				{Page: "x.md", Line: 8, Text: "two"},
			},
		},
		"Continuation": {
			reason: "the lines of a heredoc belong to the command, with their indentation",
			page:   []string{"```console run", "$ cat <<EOF", "> a:", ">   b: c", ">", "> EOF", "a:", "```"},
			want:   []Command{{Page: "x.md", Line: 2, Text: "cat <<EOF\na:\n  b: c\n\nEOF", Want: []string{"a:"}}},
		},
		"OutputLikeContinuation": {
			reason: "a line with > is output once the output has begun, and so is one without a blank after it",
			page:   []string{"```console run", "$ diff a b", ">none", "> more", "```"},
			want:   []Command{{Page: "x.md", Line: 2, Text: "diff a b", Want: []string{">none", "> more"}}},
		},
		"OtherBlocks": {
			reason: "only blocks with the info string are run",
			page:   []string{"```console", "$ rm -r /", "```", "```sh run", "$ no", "```", "$ no", "```console run", "$ yes", "```"},
			want:   []Command{{Page: "x.md", Line: 9, Text: "yes"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("x.md", strings.Join(tt.page, "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%s", tt.reason, diff)
			}
		})
	}
}

func TestParseRefusesOutputWithoutCommand(t *testing.T) {
	_, err := Parse("x.md", "```console run\nNAME\n$ kubectl get st\n```\n")
	if err == nil || !strings.HasPrefix(err.Error(), "x.md:2: ") {
		t.Errorf("Parse() = %v, want an error at x.md:2", err)
	}
}
