package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/util/intstr"
)

const deadline = 10 * time.Minute

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// at is so long after the start, at which the target that is tested got the version.
func at(d time.Duration) time.Time { return start.Add(d) }

// well is a target with an earlier version, at start.
func well(id string) Target {
	long := Condition{True: true, Changed: at(-24 * time.Hour)}
	return Target{ID: id, Ready: long, Deployed: long, Heartbeat: at(-time.Second), Examined: true, Outdated: true}
}

// begun is a target that got the version at start, as soon as it is installed.
func begun(change ...func(*Target)) Target {
	t := well("a")
	t.Outdated, t.RolledOut = false, start
	t.Deployed = Condition{Changed: at(time.Second)}
	for _, c := range change {
		c(&t)
	}
	return t
}

func complete(d time.Duration) func(*Target) {
	return func(t *Target) { t.Complete, t.Deployed = at(d), Condition{True: true, Changed: at(d)} }
}

func heartbeat(d time.Duration) func(*Target) { return func(t *Target) { t.Heartbeat = at(d) } }

func notReady(since time.Duration) func(*Target) {
	return func(t *Target) { t.Ready = Condition{Changed: at(since)} }
}

func notDeployed(since time.Duration) func(*Target) {
	return func(t *Target) { t.Deployed, t.Complete = Condition{Changed: at(since)}, time.Time{} }
}

// restarted is what another process knows, as soon as it has read what is installed.
func restarted(t *Target) {
	t.Heartbeat, t.Complete, t.Stuck, t.WasUpdated, t.HasFailed, t.Granted = time.Time{}, time.Time{}, false, false, false, time.Time{}
}

func TestState(t *testing.T) {
	rollingOut := Target{Ready: Condition{True: true}, Deployed: Condition{Changed: start}, RollingOut: true}
	stuck := func(t *Target) { t.Stuck = true }
	tests := map[string]struct {
		reason string
		target Target
		now    time.Duration
		want   State
	}{
		"not examined":             {"", Target{Ready: Condition{True: true}}, 0, Unknown},
		"not examined, on its way": {"A controller that was restarted counts it before it has read it.", rollingOut, time.Minute, Updating},
		"not examined, for long":   {"No rollout is why; it may never be read.", rollingOut, deadline * 3 / 2, Unknown},
		"earlier version":          {"", well("a"), 0, Pending},
		"granted":                  {"", Target{Examined: true, Outdated: true, Granted: start}, time.Minute, Updating},
		"granted in vain":          {"It could not be installed, and is none that fails.", Target{Examined: true, Outdated: true, Granted: start}, deadline, Pending},
		"first installation":       {"", begun(func(t *Target) { t.RolledOut = time.Time{} }), 0, Updated},
		"installed":                {"", begun(), time.Second, Updating},
		"complete":                 {"No heartbeat yet.", begun(complete(time.Minute), heartbeat(30*time.Second)), 2 * time.Minute, Updating},
		"heartbeat of the old Pod": {"", begun(complete(time.Minute), heartbeat(time.Minute+PodGrace)), 2 * time.Minute, Updating},
		"heartbeat":                {"", begun(complete(time.Minute), heartbeat(time.Minute+PodGrace+1)), 2 * time.Minute, Updated},
		"heartbeat, but not Ready": {"It comes from a syncer in another cluster.", begun(complete(time.Minute), heartbeat(2*time.Minute), notReady(0)), 2 * time.Minute, Updating},
		"stuck":                    {"The Deployment has exceeded its deadline.", begun(stuck), 3 * time.Minute, Failed},
		"stuck before":             {"The rollout is not why.", begun(stuck, notDeployed(-time.Hour)), 3 * time.Minute, Updating},
		"not Deployed before":      {"It proves nothing.", begun(notDeployed(-time.Hour)), deadline, Updated},
		"not Ready before":         {"It proves nothing.", begun(complete(time.Minute), notReady(-time.Hour)), deadline, Updated},
		"part of a second":         {"Conditions change at full seconds.", begun(func(t *Target) { t.RolledOut = at(time.Second + time.Millisecond) }), deadline + time.Minute, Failed},
		"not complete in time":     {"The old Pod still sends heartbeats.", begun(heartbeat(deadline)), deadline, Failed},
		"silent":                   {"", begun(complete(time.Minute), notReady(6*time.Minute)), deadline, Failed},
		"silent, complete late":    {"", begun(complete(9*time.Minute), notReady(14*time.Minute)), 15 * time.Minute, Failed},
		"late":                     {"It counts until the heartbeat comes.", begun(complete(9*time.Minute+50*time.Second), heartbeat(9*time.Minute)), deadline, Updating},
		"died afterwards":          {"", begun(complete(time.Minute), func(t *Target) { t.WasUpdated = true }, notReady(2*time.Minute)), deadline, Updated},
		"failed, then complete":    {"", begun(complete(12*time.Minute), func(t *Target) { t.HasFailed = true }), 12 * time.Minute, Updating},
		"failed, and again":        {"", begun(complete(12*time.Minute), func(t *Target) { t.HasFailed = true }, notReady(time.Hour)), time.Hour, Failed},
		"failed, then well":        {"", begun(complete(12*time.Minute), func(t *Target) { t.HasFailed = true }, heartbeat(13*time.Minute)), 14 * time.Minute, Updated},
		"restart: under way":       {"", begun(restarted), time.Minute, Updating},
		"restart: complete":        {"This process has seen no heartbeat.", begun(restarted, complete(time.Minute)), 2 * time.Minute, Updating},
		"restart: not complete":    {"", begun(restarted), time.Hour, Failed},
		"restart: silent":          {"", begun(complete(time.Minute), restarted, notReady(6*time.Minute)), time.Hour, Failed},
		"restart: paused":          {"Twice the threshold passes in a mass silence.", begun(complete(time.Minute), restarted, notReady(14*time.Minute)), time.Hour, Failed},
		"restart: died later":      {"It was Ready with the version.", begun(complete(time.Minute), restarted, notReady(16*time.Minute)), time.Hour, Updated},
		"restart: changed later":   {"Its user has changed something.", begun(complete(time.Minute), restarted, notDeployed(16*time.Minute)), time.Hour, Updated},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.target.State(at(tc.now), deadline); got != tc.want {
				t.Errorf("%s\nState() = %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	many := func(count int, change ...func(*Target)) (targets []Target) {
		for i := range count {
			target := well(fmt.Sprintf("t-%03d", count-1-i)) // the last is the first to begin
			for _, c := range change {
				c(&target)
			}
			targets = append(targets, target)
		}
		return targets
	}
	updating := func(t *Target) { t.Outdated, t.RolledOut = false, start }
	failed := func(t *Target) {
		t.Outdated, t.RolledOut, t.Stuck, t.Deployed = false, start, true, Condition{Changed: start}
	}
	broken := func(t *Target) { t.RolledOut, t.Deployed = at(-time.Hour), Condition{Changed: at(-time.Hour)} }
	down := func(t *Target) { t.Ready.True = false }
	tests := map[string]struct {
		reason  string
		targets []Target
		max     string
		wait    bool
		begin   []int
		halted  bool
	}{
		"nothing":            {"", nil, "10%", false, nil, false},
		"one":                {"At least one may begin.", many(1), "10%", false, []int{0}, false},
		"ten per cent":       {"", many(29), "10%", false, []int{28, 27}, false},
		"a number":           {"", many(29), "3", false, []int{28, 27, 26}, false},
		"all":                {"", many(3), "100%", false, []int{2, 1, 0}, false},
		"more than all":      {"", many(2), "5", false, []int{1, 0}, false},
		"under way":          {"", append(many(28), begun(updating)), "10%", false, []int{27}, false},
		"full":               {"", append(many(18), begun(updating)), "10%", false, nil, false},
		"failed":             {"", append(many(28), begun(failed)), "10%", false, nil, true},
		"failed, none left":  {"There is nothing to halt.", []Target{begun(failed)}, "10%", false, nil, false},
		"not Ready":          {"They are no part of the share.", append(many(10), many(90, down)...), "10%", false, []int{9}, false},
		"granted":            {"It counts before it has the version.", append(many(5), many(1, func(t *Target) { t.Granted = start })...), "10%", false, nil, false},
		"not Deployed":       {"It may be so soon.", many(3, notDeployed(time.Second-deadline)), "100%", false, nil, false},
		"never Deployed":     {"It would keep its version for ever.", many(3, notDeployed(-deadline)), "100%", false, []int{2, 1, 0}, false},
		"unreachable":        {"It would begin in vain.", many(3, func(t *Target) { t.Deployed = Condition{Unknown: true, Changed: at(-deadline)} }), "100%", false, nil, false},
		"in vain":            {"The others do not wait for it.", append(many(2), many(1, func(t *Target) { t.Granted = at(-deadline) })...), "2", false, []int{1, 0}, false},
		"not heard":          {"This process has not seen a heartbeat, so the syncer may have stopped.", many(3, heartbeat(0), func(t *Target) { t.Heartbeat = time.Time{} }), "100%", false, nil, false},
		"not heard of late":  {"A heartbeat is missing.", many(3, heartbeat(-deadline/4)), "100%", false, nil, false},
		"broken":             {"An earlier rollout has broken it, so it does not wait, but counts.", append(many(28), many(1, broken)...), "10%", false, []int{28, 27}, false},
		"many broken":        {"", append(many(20), many(9, broken)...), "10%", false, []int{20, 21, 22, 23, 24, 25, 26, 27, 28}, false},
		"broken, and a halt": {"", append(many(1, broken), begun(failed)), "10%", false, []int{0}, true},
		"broken, not heard":  {"It may be offline since, which is no fault of this version.", many(1, broken, heartbeat(-deadline/4)), "10%", false, nil, false},
		"broken, not Ready":  {"It is no part of the rollout.", many(1, broken, down), "10%", false, nil, false},
		"unknown":            {"One of them may be in the middle of a rollout.", append(many(3), Target{Ready: Condition{True: true}}), "100%", true, nil, false},
		"unknown for long":   {"", append(many(3), Target{Ready: Condition{True: true}}), "100%", false, []int{2, 1, 0}, false},
		"unknown, not Ready": {"It is no part of a wave that can still be spared.", append(many(3), Target{}), "100%", true, []int{2, 1, 0}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			maxUnavailable, err := Parse(tc.max)
			if err != nil {
				t.Fatal(err)
			}
			got := Decide(tc.targets, maxUnavailable, start, deadline, tc.wait)
			if diff := cmp.Diff(tc.begin, got.Begin); diff != "" || got.Halted != tc.halted {
				t.Errorf("%s\nDecide(): halted %t, begin: -want +got\n%s", tc.reason, got.Halted, diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for value, want := range map[string]intstr.IntOrString{"1": intstr.FromInt32(1), "25": intstr.FromInt32(25), "1%": intstr.FromString("1%"), "100%": intstr.FromString("100%")} {
		if got, err := Parse(value); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v", value, got, err)
		}
	}
	for _, value := range []string{"", "0", "-1", "0%", "101%", "-5%", "ten", "10 %", "1.5"} {
		if got, err := Parse(value); err == nil {
			t.Errorf("Parse(%q) = %v", value, got)
		}
	}
}

// fleet is a number of targets as they would behave.
type fleet struct {
	random  *rand.Rand
	now     time.Time
	targets []Target
	// broken says which targets do not come up with the version.
	broken []bool
	// done says which targets have been Updated.
	done []bool
}

// underWay is how many targets may be unavailable, whatever the controller knows of them.
func (f *fleet) underWay() (count int) {
	for i := range f.targets {
		if t := &f.targets[i]; t.Outdated && !t.Granted.IsZero() || !t.Outdated && !f.done[i] {
			count++
		}
	}
	return count
}

// step lets 5 s pass: heartbeats arrive, and Deployments make progress.
func (f *fleet) step() {
	f.now = f.now.Add(5 * time.Second)
	for i := range f.targets {
		t := &f.targets[i]
		switch {
		case t.Outdated && !t.Granted.IsZero() && f.random.IntN(2) == 0:
			t.Outdated, t.RolledOut = false, f.now
			t.Deployed = Condition{Changed: f.now}
		case !t.Outdated && !f.broken[i] && t.Complete.IsZero() && f.random.IntN(4) == 0:
			t.Complete, t.Deployed = f.now, Condition{True: true, Changed: f.now}
		}
		if f.random.IntN(4) == 0 {
			t.Heartbeat = f.now // of the old Pod where the new one is broken
		}
	}
}

// TestRollout: whatever the fleet and the faults are, never more than the share is in the middle of a rollout; it halts when one
// fails; and it goes on, to its end, when that one becomes Ready. Restarts of the controller change none of this.
func TestRollout(t *testing.T) {
	halts := 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		f := &fleet{random: random, now: start}
		size := 1 + random.IntN(60)
		for i := range size {
			f.targets = append(f.targets, well(fmt.Sprint(i)))
		}
		f.broken, f.done = make([]bool, size), make([]bool, size)
		broken := -1
		if random.IntN(2) == 0 {
			broken = random.IntN(size)
			f.broken[broken] = true
		}
		percent := 1 + random.IntN(50)
		maxUnavailable := intstr.FromString(fmt.Sprintf("%d%%", percent))
		most := max(1, size*percent/100)
		end := start.Add(48 * time.Hour)
		for {
			f.step()
			if random.IntN(200) == 0 {
				for i := range f.targets {
					restarted(&f.targets[i])
					if !f.targets[i].Outdated && f.targets[i].Deployed.True {
						f.targets[i].Complete = f.now
					}
				}
			}
			d := Decide(f.targets, maxUnavailable, f.now, deadline, true)
			for i, state := range d.States {
				f.done[i] = f.done[i] || state == Updated
				f.targets[i].WasUpdated = f.targets[i].WasUpdated || state == Updated
				f.targets[i].HasFailed = f.targets[i].HasFailed || state == Failed
			}
			if d.Counts[Failed] > 0 && len(d.Begin) > 0 {
				t.Fatalf("seed %d: it goes on after a failure", seed)
			}
			for _, i := range d.Begin {
				f.targets[i].Granted = f.now
			}
			if under := f.underWay(); under > most {
				t.Fatalf("seed %d: %d of %d are under way, want at most %d", seed, under, size, most)
			}
			if d.Halted {
				if halts++; halts%50 == 0 {
					f.broken[broken] = false
				}
			}
			if d.Counts[Updated] == size {
				break
			}
			if d.Counts[Failed] == 1 && d.Counts[Pending] == 0 {
				f.broken[broken] = false // the last one
			}
			if f.now.After(end) {
				t.Fatalf("seed %d: it does not end: %v", seed, d.Counts)
			}
		}
	}
	if halts == 0 {
		t.Error("it was never halted")
	}
}
