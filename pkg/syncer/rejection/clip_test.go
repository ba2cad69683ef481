package rejection

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	tests := map[string]struct {
		reason, text string
		first, last  string
		whole        bool
	}{
		"short":      {"", "a short text", "a short text", "", true},
		"one line":   {"", " a\n\tb  c ", "a b c", "", true},
		"at the end": {"The detail is at the end of a message.", "Job.batch is invalid: " + strings.Repeat("x", 5000) + ": field is immutable", "Job.batch is invalid: ", ": field is immutable", false},
		"UTF-8":      {"No character is cut in two.", strings.Repeat("ä€ß\n ", 2*maxMessage), "ä€ß", "ä€ß", false},
		"offset":     {"Wherever the cut is.", "x" + strings.Repeat("€", 2*maxMessage), "x€", "€", false},
		"not UTF-8":  {"", "a\xffb", "ab", "", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Clip(tc.text)
			if tc.whole && got != tc.first {
				t.Errorf("%s\nClip() = %q, want %q", tc.reason, got, tc.first)
			}
			if len(got) > maxMessage || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\t") {
				t.Errorf("%s\nClip() = %d bytes, valid: %t: %q", tc.reason, len(got), utf8.ValidString(got), got)
			}
			if !strings.HasPrefix(got, tc.first) || !strings.HasSuffix(got, tc.last) || strings.Contains(got, omission) == tc.whole {
				t.Errorf("%s\nClip() = %q", tc.reason, got)
			}
			if again := Clip(got); again != got {
				t.Errorf("a text that fits becomes %q", again)
			}
		})
	}
	for i := range 4 {
		if got := Clip(strings.Repeat("x", i) + strings.Repeat("€", 2*maxMessage) + strings.Repeat("x", i)); !utf8.ValidString(got) {
			t.Errorf("a character is cut in two: %q", got)
		}
	}
	head, tail, _ := strings.Cut(Clip(strings.Repeat("x", 2*maxMessage)), omission)
	if len(head) != 611 || len(tail) != 408 {
		t.Errorf("%d bytes of the beginning and %d of the end are kept", len(head), len(tail))
	}
}
