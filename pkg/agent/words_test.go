package agent

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWords(t *testing.T) {
	tests := map[string]struct {
		reason string
		say    func(string) string
		in     string
		want   string
	}{
		"one line":    {"", oneLine, "a\n\tb  c\r\n", "a b c"},
		"control":     {"Nothing that a terminal would obey.", oneLine, "a\x1b[31mb", "a [31mb"},
		"source port": {"It is another at each attempt.", oneLine, "read udp 10.244.0.5:43210->10.96.0.10:53: i/o timeout", "read udp 10.96.0.10:53: i/o timeout"},
		"bounded":     {"", oneLine, strings.Repeat("é", 300), strings.Repeat("é", 255) + "…"},
		"cut before it is bounded": {
			"The prefix does not use up the room.", pullFailure,
			`Back-off pulling image "` + strings.Repeat("x", 300) + `": ErrImagePull: not found`, "not found",
		},
		"pull, no rpc":       {"", pullFailure, "no match for platform in manifest", "no match for platform in manifest"},
		"pull, nothing":      {"", pullFailure, "", ""},
		"scheduler, no node": {"", schedulerWords, "no nodes available to schedule pods", "no nodes available to schedule pods"},
		"scheduler, gates":   {"", schedulerWords, "Scheduling is blocked due to non-empty scheduling gates", "Scheduling is blocked due to non-empty scheduling gates"},
		"last line":          {"", lastWords, "first\nkcp refuses the token\n\n", "kcp refuses the token"},
		"log line":           {"Its time makes it another at each crash.", lastWords, "E1123 20:42:19.123456 1 main.go:31] no", ""},
		"no words":           {"", lastWords, "", ""},
		"pod name":           {"", withoutPodName, `Pod "syncer-abc-xyz" is invalid: spec: no`, "invalid: spec: no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := test.say(test.in)
			if got != test.want {
				t.Errorf("%s\ngot  %q\nwant %q", test.reason, got, test.want)
			}
			if utf8.RuneCountInString(got) > maxWords {
				t.Errorf("%d characters", utf8.RuneCountInString(got))
			}
		})
	}
}
