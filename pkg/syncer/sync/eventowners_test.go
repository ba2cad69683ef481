package sync

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

// newCrashLoop is the stage with many Pods of its Deployment, all of which fail.
func newCrashLoop(t *testing.T, pods int) (s *stage, names []string) {
	t.Helper()
	const random = "bcdfghjklmnpqrstvwxz2456789"
	s = newStageWith(t, clock.RealClock{})
	for i := range pods {
		name := "web-1-bcd" + string([]byte{random[i/27/27], random[i/27%27], random[i%27]})
		names = append(names, name)
		pod := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod"}}
		pod.SetNamespace(s.place.downstreamNamespace)
		pod.SetName(name)
		pod.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", Controller: ptr.To(true)}})
		if err := s.down.Tracker().Create(corev1.SchemeGroupVersion.WithResource("pods"), pod, pod.GetNamespace()); err != nil {
			t.Fatal(err)
		}
	}
	return s, names
}

// fail has every Pod report its failure, again, with a message that may tell of the Pod.
func (s *stage) fail(pods []string, repetition int, message func(pod string) string) {
	s.t.Helper()
	for i, pod := range pods {
		event := "e-" + strconv.Itoa(i)
		s.warnWith(event, strconv.Itoa(repetition), "Pod", "v1", pod, message(pod), int32(repetition), 0)
		s.engine.enqueueEvent(s.place, event, false)
	}
}

// lookups are the requests to the physical cluster for this resource.
func (s *stage) lookups(resource string) (count int) {
	for _, action := range s.down.Actions() {
		if action.Matches("get", resource) {
			count++
		}
	}
	return count
}

// TestLookupsOfACrashLoop: a thousand Pods that fail alike cost a few look-ups a minute, and the user sees a few
// Events.
func TestLookupsOfACrashLoop(t *testing.T) {
	const minute = 60 - 1 // seconds before the next minute begins
	for name, message := range map[string]func(pod string) string{
		"the same text": func(string) string { return "Back-off restarting failed container" },
		"with the name of itself": func(pod string) string {
			return "Back-off restarting failed container app in pod " + pod + "_x(" + pod + ")"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, pods := newCrashLoop(t, 1200)
				for range maxWorkers {
					go func() {
						for s.engine.processNext(t.Context()) {
						}
					}()
				}
				defer s.engine.queue.ShutDown()
				for second := range minute {
					if second%10 == 0 {
						s.fail(pods, 1+second/10, message)
					}
					time.Sleep(time.Second)
					synctest.Wait()
					if got := s.lookups("pods") + s.lookups("replicasets"); got > second+1+lookupBurst {
						t.Fatalf("%d requests in %d s", got, second+1)
					}
				}
				if got := s.lookups("pods") + s.lookups("replicasets"); got > minute || s.lookups("pods") != maxEventsPerReason {
					t.Errorf("%d requests in a minute, of which %d for Pods", got, s.lookups("pods"))
				}
				if got := len(s.told()); got < 1 || got > maxEventsPerReason {
					t.Errorf("the Deployment has %d Events", got)
				}
			})
		})
	}
}

// TestLookupsAreLimited: Pods that fail in a hundred ways are looked up one after another, each in the end.
func TestLookupsAreLimited(t *testing.T) {
	const many = 100
	synctest.Test(t, func(t *testing.T) {
		s, pods := newCrashLoop(t, many)
		for range maxWorkers {
			go func() {
				for s.engine.processNext(t.Context()) {
				}
			}()
		}
		defer s.engine.queue.ShutDown()
		number := 0
		s.fail(pods, 1, func(string) string { number++; return fmt.Sprintf("Readiness probe failed: 10.0.0.%d", number) })
		for second := range 60 {
			time.Sleep(time.Second)
			synctest.Wait()
			if got := s.lookups("pods"); got > second+1+lookupBurst {
				t.Fatalf("%d look-ups in %d s", got, second+1)
			}
		}
		if got := s.lookups("pods"); got < 40 {
			t.Errorf("%d look-ups in a minute, though there is one a second", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := s.lookups("pods"); got != many {
			t.Errorf("%d of %d Pods are looked up in the end", got, many)
		}
		for i := range many {
			if _, written := s.place.writtenEvents.Load("e-" + strconv.Itoa(i)); !written {
				t.Errorf("Event %d is lost", i)
			}
		}
	})
}

// TestLookupsAreForgotten: what is remembered of groups goes after eventPace, and what is remembered of an Event goes
// with the Event.
func TestLookupsAreForgotten(t *testing.T) {
	s := newStage(t)
	s.warn("1", "Pod", "v1", "web-1-x", 1, 0)
	s.relay()
	if len(s.place.recentLookups) != 1 {
		t.Fatalf("groups %v", s.place.recentLookups)
	}
	s.clock.Step(eventPace)
	s.warnWith("f", "1", "Pod", "v1", "web-1-x", "another text", 1, 0)
	s.relayAs("f")
	if len(s.place.recentLookups) != 1 {
		t.Errorf("after a minute: groups %v", s.place.recentLookups)
	}
	object, _, err := s.events.GetByKey(s.place.downstreamNamespace + "/e")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.events.Delete(object); err != nil {
		t.Fatal(err)
	}
	s.relay()
	if _, found := s.place.writtenEvents.Load("e"); found {
		t.Error("an Event that is gone is remembered")
	}
}

// TestAdmitLookup: a few of each group are looked up, an Event that is tried again counts once, and one without a token
// not at all.
func TestAdmitLookup(t *testing.T) {
	p, now, tokens := newNamespaceSync("key", shopNamespace), time.Now(), 0
	admit := func(group, event string) lookupAdmission {
		return p.admitLookup(lookupGroup{namePrefix: group}, event, now, func() bool { tokens--; return tokens >= 0 })
	}
	for i, step := range []struct {
		group, event string
		tokens       int
		want         lookupAdmission
	}{
		{"web", "1", 0, lookupLimited},
		{"web", "1", 1, lookupAdmitted},
		{"web", "2", 1, lookupAdmitted},
		{"web", "2", 1, lookupAdmitted},
		{"web", "3", 1, lookupAdmitted},
		{"web", "4", 1, lookupRedundant},
		{"web", "3", 0, lookupLimited},
		{"api", "5", 1, lookupAdmitted},
	} {
		if tokens = step.tokens; admit(step.group, step.event) != step.want {
			t.Errorf("step %d: %+v", i, step)
		}
	}
	now, tokens = now.Add(eventPace), 1
	if admit("web", "4") != lookupAdmitted || len(p.recentLookups) != 1 {
		t.Errorf("after a minute: %v", p.recentLookups)
	}
}

func TestGeneratedNamePrefix(t *testing.T) {
	for name, want := range map[string]string{
		"web-7d9f8b6c5d-x2x4z":         "web",
		"web-7d9f8b6c5d":               "web",
		"shop-https-7d9f8b6c5d-x2x4z":  "shop-https",
		"agent-x2x4z":                  "agent",
		"db-0":                         "db",
		"nightly-28394820-x2x4z":       "nightly",
		"nightly-28394820":             "nightly",
		"web-server":                   "web-server",
		"web-db":                       "web-db",
		"a-long-name-7d9f8b6c5dx2x4z":  "a-long-name",
		"a-long-name-x2x4z7d9f8b6c5d7": "a-long-name-x2x4z7d9f8b6c5d7",
		"web":                          "web",
		"":                             "",
		"-":                            "-",
	} {
		if got := generatedNamePrefix(name); got != want {
			t.Errorf("generatedNamePrefix(%q) = %q, want %q", name, got, want)
		}
	}
}
