package orphan

import (
	"testing"
	"time"
)

func TestDetector(t *testing.T) {
	// after is an answer, and the time since the one before it.
	type after struct {
		time.Duration
		Answer
	}
	const s = time.Second
	repeat := func(n int, steps ...after) (all []after) {
		for range n {
			all = append(all, steps...)
		}
		return all
	}
	cases := map[string]struct {
		reason  string
		answers []after
		// want is the answer that makes the syncer orphaned, counted from 1; 0 if none does.
		want int
	}{
		"Accepted":      {"", repeat(1000, after{20 * s, Exists}), 0},
		"RecreatedOnce": {"One answer may come from a stale cache.", []after{{0, Recreated}, {s, Exists}, {s, Recreated}}, 0},
		"Recreated":     {"The second answer confirms it at once.", []after{{0, Recreated}, {s, Recreated}}, 2},
		"RecreatedTwice": {"Silence in between takes nothing back.",
			[]after{{0, Recreated}, {s, Unknown}, {s, Recreated}}, 3},
		"RecreatedThenGone": {"They are not in a row, but all are negative.",
			[]after{{0, Recreated}, {s, NotFound}, {s, Recreated}, {60 * s, NotFound}, {60 * s, NotFound}}, 5},
		"NotFound":         {"", repeat(7, after{20 * s, NotFound}), 7},
		"Unauthorized":     {"", repeat(7, after{20 * s, Unauthorized}), 7},
		"EitherOfBoth":     {"A deleted SyncTarget takes the ServiceAccount with it.", repeat(4, after{20 * s, NotFound}, after{20 * s, Unauthorized}), 7},
		"ShortOfThreshold": {"The last one arrives a nanosecond too early.", []after{{0, NotFound}, {60 * s, NotFound}, {60*s - 1, NotFound}}, 0},
		"QuickAnswers":     {"Any number of answers within the threshold is not enough.", repeat(119, after{s, Unauthorized}), 0},
		"TwoAnswers":       {"It takes three, however long it takes.", repeat(2, after{time.Hour, NotFound}), 0},
		"ThreeAnswers":     {"", repeat(3, after{time.Hour, NotFound}), 3},
		"OnceAccepted":     {"A heartbeat that is accepted starts anew.", append(append(repeat(6, after{20 * s, NotFound}), after{s, Exists}), repeat(6, after{20 * s, NotFound})...), 0},
		"AcceptedThenGone": {"", append([]after{{0, NotFound}, {20 * s, Exists}}, repeat(7, after{20 * s, NotFound})...), 9},
		"Silence":          {"Silence is never a reason, however long it lasts.", repeat(10000, after{20 * s, Unknown}), 0},
		"SilenceBetween":   {"Silence takes nothing back.", repeat(7, after{10 * s, NotFound}, after{10 * s, Unknown}), 13},
		"RestartOfKcp": {"An outage between two refusals counts at most a half of the threshold: kcp may refuse tokens while it stops and starts.",
			append([]after{{0, Unauthorized}, {time.Hour, Unknown}}, repeat(60, after{s, Unauthorized})...), 0},
		"RefusedSinceRestart": {"After that it is refused for the other half.",
			append([]after{{0, Unauthorized}, {time.Hour, Unknown}}, repeat(61, after{s, Unauthorized})...), 63},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := Detector{Threshold: 2 * time.Minute}
			now, got := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), 0
			for i, answer := range tc.answers {
				now = now.Add(answer.Duration)
				if d.Observe(answer.Answer, now) && got == 0 {
					got = i + 1
				}
			}
			if got != tc.want {
				t.Errorf("\n%s\nwant it to be orphaned with answer %d of %d, got %d", tc.reason, tc.want, len(tc.answers), got)
			}
		})
	}
}
