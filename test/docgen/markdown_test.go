package main

import "testing"

func TestText(t *testing.T) {
	tests := map[string]struct{ plain, want string }{
		"Lines":    {plain: "one\n  two\n\nthree", want: "one two three"},
		"Markup":   {plain: `a <name> in *[x] \n`, want: `a &lt;name> in \*\[x] \\n`},
		"Code":     {plain: "see `a*b<c>` and *d", want: "see `a*b<c>` and \\*d"},
		"OpenCode": {plain: "a ` b*", want: "a ` b\\*"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := text(tt.plain); got != tt.want {
				t.Errorf("text(%q) = %q, want %q", tt.plain, got, tt.want)
			}
		})
	}
}

func TestCode(t *testing.T) {
	for plain, want := range map[string]string{"": "", "a|b": "`a|b`", "a`b": "`` a`b ``"} {
		if got := code(plain); got != want {
			t.Errorf("code(%q) = %q, want %q", plain, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	got := table([]string{"a", "b"}, [][]string{{code("x|y"), ""}, {"1", "2"}})
	want := "| a | b |\n|---|---|\n| `x\\|y` |  |\n| 1 | 2 |\n"
	if got != want {
		t.Errorf("table() =\n%s\nwant\n%s", got, want)
	}
	if got := table([]string{"a"}, nil); got != "" {
		t.Errorf("table() without rows = %q, want nothing", got)
	}
}
