package sanitize

import "testing"

func TestLine(t *testing.T) {
	for name, tc := range map[string]struct{ reason, text, want string }{
		"plain":       {"", "a b", "a b"},
		"many lines":  {"A condition has one line.", " a\n\n\tb\r\n", "a b"},
		"a terminal":  {"It must not act on what a server has written.", "a\x1b[31mb\x00c", "a [31mb c"},
		"not UTF-8":   {"The API takes nothing else.", "a\xffb", "a b"},
		"other words": {"", "größer → 大", "größer → 大"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Line(tc.text); got != tc.want {
				t.Errorf("Line() = %q, want %q: %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestWithoutSourcePort(t *testing.T) {
	for text, want := range map[string]string{
		"read tcp 10.0.0.7:41234->10.0.0.1:443: reset":   "read tcp 10.0.0.1:443: reset",
		"read tcp [fd00::7]:41234->[fd00::1]:443: reset": "read tcp [fd00::1]:443: reset",
		"dial tcp 10.0.0.1:443: refused":                 "dial tcp 10.0.0.1:443: refused",
	} {
		if got := WithoutSourcePort(text); got != want {
			t.Errorf("WithoutSourcePort(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestTruncate(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"short":            {"äöü", 3, "äöü"},
		"long":             {"äöüß", 3, "äö…"},
		"cut after a word": {"ab cd", 4, "ab…"},
		"to the ellipsis":  {"ab", 1, "…"},
		"nothing":          {"", 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Truncate(tc.text, tc.limit); got != tc.want {
				t.Errorf("Truncate() = %q, want %q", got, tc.want)
			}
		})
	}
}
