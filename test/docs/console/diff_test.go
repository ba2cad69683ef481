package console

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	tests := map[string]struct {
		reason          string
		want, got, diff []string
	}{
		"Equal": {want: []string{"a"}, got: []string{"a"}},
		"Changed": {
			want: []string{"NAME  AGE", "demo  5s"},
			got:  []string{"NAME  AGE", "prod  7s"},
			diff: []string{"  NAME  AGE", "- demo  5s", "+ prod  7s"},
		},
		"MatchIsShownAsPrinted": {
			reason: "lines that match are context, as the command printed them",
			want:   []string{"a 5s", "b"},
			got:    []string{"a 7s"},
			diff:   []string{"  a 7s", "- b"},
		},
		"AnyLines": {
			reason: "lines that … stands for are left out",
			want:   []string{"…", "end"},
			got:    []string{"a", "b", "end", "more"},
			diff:   []string{"  …", "  end", "+ more"},
		},
		"AnyLinesAtEnd": {
			want: []string{"a", "…"},
			got:  []string{"b"},
			diff: []string{"- a", "  …"},
		},
		"NothingExpected": {got: []string{"a", ""}, diff: []string{"+ a"}},
		"NothingPrinted":  {want: []string{"a", "", "b"}, diff: []string{"- a", "-", "- b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := strings.Join(tt.diff, "\n")
			if diff := cmp.Diff(want, strings.TrimSuffix(Diff(tt.want, tt.got), "\n")); diff != "" {
				t.Errorf("%s\n%s", tt.reason, diff)
			}
		})
	}
}
