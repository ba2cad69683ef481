package options

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func parse(t *testing.T, args []string) *Options {
	t.Helper()
	o := New()
	fs := pflag.NewFlagSet("syncer", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatalf("Parse(%q): %v", args, err)
	}
	if rest := fs.Args(); len(rest) != 0 {
		t.Fatalf("Parse(%q) left %q over", args, rest)
	}
	return o
}

// fill sets every field by its kind, so that a field added without a flag fails the test.
func fill(t *testing.T, text func() string, number func() int64) *Options {
	t.Helper()
	o := New()
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.String:
			field.SetString(text())
		case reflect.Bool:
			field.SetBool(!field.Bool()) // any other value than the default
		case reflect.Int, reflect.Int64:
			field.SetInt(number())
		case reflect.Float32:
			field.SetFloat(float64(float32(number())))
		default:
			t.Fatalf("teach this test to fill %s, a %s", v.Type().Field(i).Name, field.Kind())
		}
	}
	return o
}

func TestArgsIsTheInverseOfAddFlags(t *testing.T) {
	cases := map[string]struct {
		reason string
		opts   *Options
		want   []string
	}{
		"Defaults": {
			reason: "What is the default already is left out, so that a manifest shows only what is special.",
			opts:   New(),
		},
		"Installed": {
			reason: "What the installer sets appears in the order of the flags.",
			opts: func() *Options {
				o := New()
				o.SyncTargetName, o.SyncTargetUID, o.Key = "edge-1", "u-1", "k"
				o.Namespace, o.LogLevel, o.HeartbeatInterval = "kcp-syncer-edge-1-k", 4, 90*time.Second
				return o
			}(),
			want: []string{
				"--sync-target-name=edge-1", "--sync-target-uid=u-1", "--sync-target-key=k",
				"--namespace=kcp-syncer-edge-1-k", "--heartbeat-interval=1m30s", "--log-level=4",
			},
		},
		"Emptied": {
			reason: "A default that was emptied stays empty.",
			opts:   &Options{},
			want: []string{
				"--kcp-kubeconfig=", "--heartbeat-interval=0s", "--metrics-bind-address=", "--metrics-secure=false", "--health-probe-bind-address=",
				"--qps=0",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := tc.opts.Args()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\nArgs(): -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.opts, parse(t, got)); diff != "" {
				t.Errorf("\n%s\nAddFlags of Args(): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestArgsNamesEveryFlagOnce(t *testing.T) {
	n := int64(0)
	number := func() int64 { n++; return n }
	o := fill(t, func() string { return fmt.Sprintf("value-%d", number()) }, number)
	fs := pflag.NewFlagSet("syncer", pflag.ContinueOnError)
	New().AddFlags(fs)
	seen := map[string]int{}
	for _, arg := range o.Args() {
		seen[strings.TrimPrefix(strings.SplitN(arg, "=", 2)[0], "--")]++
	}
	fs.VisitAll(func(f *pflag.Flag) {
		if seen[f.Name] != 1 {
			t.Errorf("--%s: named %d times by Args(), want once", f.Name, seen[f.Name])
		}
	})
	if diff := cmp.Diff(o, parse(t, o.Args())); diff != "" {
		t.Errorf("AddFlags of Args() with every field set: -want, +got:\n%s", diff)
	}
}

func TestArgsSurvivesAnyValue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab-= \t\n\"'\\,$%äß—/:.0")
	text := func() string {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 1000 {
		o := fill(t, text, func() int64 { return random.Int64() - random.Int64() })
		if diff := cmp.Diff(o, parse(t, o.Args())); diff != "" {
			t.Fatalf("AddFlags of Args() %q: -want, +got:\n%s", o.Args(), diff)
		}
	}
}

func TestEffectiveBurst(t *testing.T) {
	cases := map[string]struct {
		reason string
		qps    float32
		burst  int
		want   int
	}{
		"Default":   {"The limits of a syncer as it is installed.", DefaultQPS, 0, 400},
		"OnlyQPS":   {"The burst follows the limit.", 50, 0, 100},
		"LowestQPS": {"At least one request can be sent.", 1, 0, 2},
		"OnlyBurst": {"It is taken as it is.", DefaultQPS, 1000, 1000},
		"LowBurst":  {"It may be lower than the limit.", 50, 10, 10},
		"NoLimit":   {"Without a limit there is no burst.", -1, 0, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := (&Options{QPS: tc.qps, Burst: tc.burst}).EffectiveBurst(); got != tc.want {
				t.Errorf("\n%s\nEffectiveBurst() = %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*Options)
		want   string
	}{
		"Complete": {
			reason: "What the installer sets is enough.",
			change: func(*Options) {},
		},
		"NothingGiven": {
			reason: "Everything that is missing is named at once, in the order of the flags.",
			change: func(o *Options) { *o = Options{} },
			want: "--kcp-kubeconfig is required\n--sync-target-name is required\n--sync-target-uid is required\n" +
				"--sync-target-key is required\n--namespace is required\n" +
				"--qps must be between 1 and 10000, or negative for no limit, not 0\n" +
				"--heartbeat-interval must be between 1s and 2m0s, not 0s",
		},
		"IntervalTooShort": {
			reason: "A timestamp in the API has a resolution of one second.",
			change: func(o *Options) { o.HeartbeatInterval = 999 * time.Millisecond },
			want:   "--heartbeat-interval must be between 1s and 2m0s, not 999ms",
		},
		"IntervalTooLong": {
			reason: "One lost heartbeat must not make a target NotReady.",
			change: func(o *Options) { o.HeartbeatInterval = 3 * time.Minute },
			want:   "--heartbeat-interval must be between 1s and 2m0s, not 3m0s",
		},
		"ShortestInterval": {
			reason: "The limits themselves are allowed.",
			change: func(o *Options) { o.HeartbeatInterval = time.Second },
		},
		"UnlimitedQPS": {
			reason: "As client-go has it.",
			change: func(o *Options) { o.QPS = -1 },
		},
		"HighestQPS": {
			reason: "The API allows the same.",
			change: func(o *Options) { o.QPS = 10000 },
		},
		"QPSTooHigh": {
			reason: "The API allows no more, either.",
			change: func(o *Options) { o.QPS = 10001 },
			want:   "--qps must be between 1 and 10000, or negative for no limit, not 10001",
		},
		"QPSIsNoNumber": {
			reason: "A flag can be NaN, which is neither a limit nor none.",
			change: func(o *Options) { o.QPS = float32(math.NaN()) },
			want:   "--qps must be between 1 and 10000, or negative for no limit, not NaN",
		},
		"LowBurst": {
			reason: "Requests are then sent evenly.",
			change: func(o *Options) { o.Burst = 1 },
		},
		"NegativeBurst": {
			reason: "With a limit of requests, nothing could be sent at all.",
			change: func(o *Options) { o.Burst = -1 },
			want:   "--burst must be at least 1, or 0 for twice --qps, not -1",
		},
		"NegativeLogLevel": {
			reason: "There is nothing below 0.",
			change: func(o *Options) { o.LogLevel = -1 },
			want:   "--log-level must be between 0 and 7, not -1",
		},
		"LogLevelTooHigh": {
			reason: "From 8 on, Secrets are logged.",
			change: func(o *Options) { o.LogLevel = 8 },
			want:   "--log-level must be between 0 and 7, not 8",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := New()
			o.SyncTargetName, o.SyncTargetUID, o.Key, o.Namespace = "edge-1", "u-1", "k", "ns"
			tc.change(o)
			got := ""
			if err := o.Validate(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\nValidate(): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}
