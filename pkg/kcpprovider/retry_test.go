package kcpprovider

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
)

var errInjected = errors.New("injected")

// quick is a clock on which every pause passes at once, and is recorded.
type quick struct {
	*clocktesting.FakeClock
	mu     sync.Mutex
	pauses []time.Duration
	// stopped: pauses last for ever.
	stopped bool
	// asked gets the pauses of a stopped clock.
	asked chan time.Duration
}

func newQuick() *quick {
	return &quick{FakeClock: clocktesting.NewFakeClock(time.Now()), asked: make(chan time.Duration, 100)}
}

func (q *quick) After(d time.Duration) <-chan time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pauses = append(q.pauses, d)
	if q.stopped {
		q.asked <- d
		return nil
	}
	q.Step(d)
	done := make(chan time.Time, 1)
	done <- q.Now()
	return done
}

func (q *quick) recorded() []time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.pauses)
}

// aware engages what engage lets it.
type aware struct {
	engage func(n int) error
	mu     sync.Mutex
	calls  int
	done   chan struct{}
}

func (a *aware) Engage(context.Context, multicluster.ClusterName, cluster.Cluster) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	err := a.engage(a.calls)
	if err == nil {
		close(a.done)
	}
	return err
}

// checkBackoff wants pauses that double, each longer by up to a fifth, up to the cap.
func checkBackoff(t *testing.T, pauses []time.Duration, base, limit time.Duration) {
	t.Helper()
	for i, pause := range pauses {
		least := min(base<<min(i, 20), limit)
		if pause < least || pause > least+least/5 {
			t.Errorf("pause %d is %s, want %s and up to a fifth more: %s", i, pause, least, pauses)
		}
	}
}

func TestPatientAware(t *testing.T) {
	clock := newQuick()
	a := &aware{done: make(chan struct{}), engage: func(n int) error {
		if n <= 5 {
			return errInjected
		}
		return nil
	}}
	p := &patientAware{aware: a, log: logr.Discard(), clock: clock}
	if err := p.Engage(t.Context(), "one", nil); err != nil {
		t.Fatalf("Engage() = %v: the provider would drop the logical cluster", err)
	}
	<-a.done
	if pauses := clock.recorded(); len(pauses) != 5 {
		t.Errorf("pauses %s, want one before each of 5 retries", pauses)
	}
	checkBackoff(t, clock.recorded(), time.Second, time.Minute)
}

func TestPatientAwareAtOnce(t *testing.T) {
	a := &aware{done: make(chan struct{}), engage: func(int) error { return nil }}
	clock := newQuick()
	if err := (&patientAware{aware: a, log: logr.Discard(), clock: clock}).Engage(t.Context(), "one", nil); err != nil {
		t.Fatal(err)
	}
	if a.calls != 1 || len(clock.recorded()) != 0 {
		t.Errorf("%d calls, pauses %s", a.calls, clock.recorded())
	}
}

// TestPatientAwareEnds: a logical cluster that has left must not be engaged later.
func TestPatientAwareEnds(t *testing.T) {
	clock := newQuick()
	clock.stopped = true
	a := &aware{done: make(chan struct{}), engage: func(int) error { return errInjected }}
	left, leave := context.WithCancelCause(t.Context())
	if err := (&patientAware{aware: a, log: logr.Discard(), clock: clock}).Engage(left, "one", nil); err != nil {
		t.Fatal(err)
	}
	<-clock.asked
	leave(errInjected)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls != 1 {
		t.Errorf("%d calls", a.calls)
	}
}

// endpoint answers with the codes given, and with the last of them from then on.
func endpoint(t *testing.T, codes ...int) (api *httptest.Server, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var paths []string
	api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, r.URL.Path)
		w.WriteHeader(codes[min(len(paths), len(codes))-1])
	}))
	t.Cleanup(api.Close)
	return api, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(paths)
	}
}

func newSupervisor(clock *quick) *Supervisor {
	s := New(&rest.Config{}, "workload.kcp.io", nil, logr.Discard())
	s.clock = clock
	return s
}

func newEndpoints(clock *quick, stop context.CancelCauseFunc) *endpoints {
	s := newSupervisor(clock)
	return &endpoints{ask: s.ask, stop: stop, clock: clock, log: logr.Discard(), answered: map[string]bool{}}
}

// TestAnsweringOnce: an endpoint that served stays, whatever it answers when another is listed; and one that never
// answered is asked by one goroutine only, however often it is listed.
func TestAnsweringOnce(t *testing.T) {
	served, asked := endpoint(t, http.StatusOK, http.StatusServiceUnavailable)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	clock := newQuick()
	clock.stopped = true
	ctx, stop := context.WithCancelCause(t.Context())
	e := newEndpoints(clock, stop)
	for _, urls := range [][]string{{served.URL}, {served.URL, down.URL}, {down.URL, served.URL}} {
		if diff := cmp.Diff([]string{served.URL}, e.answering(ctx, urls)); diff != "" {
			t.Errorf("answering(): -want +got\n%s", diff)
		}
	}
	if len(asked()) != 1 || len(e.answered) != 2 {
		t.Errorf("asked %q; answered: %v", asked(), e.answered)
	}
}

func TestAnswering(t *testing.T) {
	up, asked := endpoint(t, http.StatusOK)
	down, _ := endpoint(t, http.StatusServiceUnavailable, http.StatusForbidden, http.StatusNotFound, http.StatusOK)
	clock := newQuick()
	ctx, stop := context.WithCancelCause(t.Context())
	got := newEndpoints(clock, stop).answering(ctx, []string{up.URL, down.URL})
	if diff := cmp.Diff([]string{up.URL}, got); diff != "" {
		t.Errorf("answering(): -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/clusters/*/apis"}, asked()); diff != "" {
		t.Errorf("requests: -want +got\n%s", diff)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !strings.Contains(cause.Error(), down.URL+" answers now") {
		t.Errorf("the run ended because of %v", cause)
	}
	if pauses := clock.recorded(); len(pauses) != 3 {
		t.Errorf("pauses %s, want one before each of 3 retries", pauses)
	}
	checkBackoff(t, clock.recorded(), time.Second, 30*time.Second)
}

func TestAnsweringAllUp(t *testing.T) {
	up, _ := endpoint(t, http.StatusOK)
	clock := newQuick()
	ctx, stop := context.WithCancelCause(t.Context())
	if got := newEndpoints(clock, stop).answering(ctx, []string{up.URL}); len(got) != 1 || ctx.Err() != nil || len(clock.recorded()) != 0 {
		t.Errorf("answering() = %q, run ended: %v, pauses %s", got, ctx.Err(), clock.recorded())
	}
}

func TestAnsweringUnreachable(t *testing.T) {
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	clock := newQuick()
	clock.stopped = true
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := false
	if got := newEndpoints(clock, func(error) { stopped = true }).answering(ctx, []string{down.URL}); len(got) != 0 {
		t.Errorf("answering() = %q", got)
	}
	<-clock.asked
	cancel(nil)
	if stopped {
		t.Error("the run was stopped although nothing answers")
	}
}

func TestAskNamesWhatItAsked(t *testing.T) {
	api, _ := endpoint(t, http.StatusForbidden)
	s := newSupervisor(newQuick())
	for name, tc := range map[string]struct {
		url    string
		config rest.Config
		want   string
	}{
		"refused":     {api.URL, rest.Config{}, "asking " + api.URL + ": 403 Forbidden"},
		"no URL":      {"http://a b", rest.Config{}, "making a request to http://a b: "},
		"no client":   {api.URL, rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: "/nowhere"}}, "making a client for " + api.URL + ": "},
		"unreachable": {"http://127.0.0.1:1", rest.Config{}, "asking http://127.0.0.1:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			s.config = &tc.config
			if err := s.ask(t.Context(), tc.url); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("ask() = %v, want %s…", err, tc.want)
			}
		})
	}
}
