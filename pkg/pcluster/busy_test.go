package pcluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fillLargeAnswers takes all places for large answers of testID's workspace, and returns how to give them back.
func fillLargeAnswers(t *testing.T, clusters *Clusters) (empty func()) {
	t.Helper()
	var releases []func()
	for range largeAnswersPerWorkspace {
		release, err := clusters.large.Acquire(t.Context(), testID("").ClusterName)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// large is a cluster without a network. Each of its answers takes so long to begin, and is a large one, but for those that
// name its APIs.
func large(t *testing.T, clusters *Clusters, delay time.Duration) *Cluster {
	t.Helper()
	cluster := clusters.replace(testID("a"), mustCluster(t, clusters, testID("a"), "t"))
	cluster.answerFilter.next = roundTripper(func(r *http.Request) (*http.Response, error) {
		time.Sleep(delay)
		if r.URL.Path == "/api" || r.URL.Path == "/apis" {
			answer := httptest.NewRecorder()
			apis()(answer, r)
			return answer.Result(), nil
		}
		body := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"uid": %q, "labels": {"l": %q}}}`,
			clusterUID, strings.Repeat("x", largeAnswer))
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	})
	return cluster
}

// TestBusy: that this service has no place for a large answer says nothing about the cluster, and is tried again.
func TestBusy(t *testing.T) {
	const sentence = "the service is reading many large answers of clusters at the moment; it is tried again"
	dead := unreachable("no answer")
	for name, test := range map[string]struct {
		reason string
		call   func(*testing.T, *Clusters, *Cluster) error
		dead   error
	}{
		"first contact": {"It is repeated.", func(t *testing.T, clusters *Clusters, _ *Cluster) error {
			_, err := clusters.Get(t.Context(), testID("a"), tokenKubeconfig("https://edge:6443", nil, "t"))
			return err
		}, nil},
		"ID": {"", func(t *testing.T, _ *Clusters, cluster *Cluster) error {
			_, err := cluster.ID(t.Context())
			return err
		}, nil},
		"call": {"", func(t *testing.T, _ *Clusters, cluster *Cluster) error {
			return newClient(t, cluster).Get(t.Context(), client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
		}, nil},
		"discovery": {"", func(t *testing.T, _ *Clusters, cluster *Cluster) error {
			_, _, err := cluster.Serving(t.Context())
			return err
		}, nil},
		"probe": {"The cluster stays dead, and is probed again.", func(t *testing.T, clusters *Clusters, cluster *Cluster) error {
			cluster.dead, cluster.backoff = dead, probeBackoff()
			if cluster.probe() {
				t.Error("there is nothing new to tell")
			}
			if queue := clusters.queue.(*recordingQueue); len(queue.delays) != 1 {
				t.Errorf("it is probed again after %v", queue.delays)
			}
			return errBusy
		}, dead},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clusters, changes := startClusters(t, nil, nil)
				cluster := large(t, clusters, time.Second)
				defer fillLargeAnswers(t, clusters)()
				err := test.call(t, clusters, cluster)
				if !errors.Is(err, ErrReplaced) || isAboutCluster(err) || endsContact(err) {
					t.Errorf("%s: %v", test.reason, err)
				}
				if diff := cmp.Diff(sentence, Describe(err)); diff != "" {
					t.Errorf("%s: -want +got:\n%s", test.reason, diff)
				}
				if got := cluster.remembered(); got != test.dead { //nolint:errorlint // this very one
					t.Errorf("%s: the cluster is dead: %v", test.reason, got)
				}
				synctest.Wait()
				if told := len(changes) == 1; told != (name == "first contact") {
					t.Errorf("%s: %d calls of OnChange", test.reason, len(changes))
				}
				if clusters.IsSlow(testID("a").ClusterName, testID("a").Name) || len(cluster.slowCalls) != 0 {
					t.Errorf("%s: the cluster is slow", test.reason)
				}
			})
		})
	}
}

// TestReserveLeavesTime: a place for a large answer is not waited for until there is no time left to read it.
func TestReserveLeavesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clusters, _ := startClusters(t, nil, nil)
		cluster := large(t, clusters, 0)
		empty := fillLargeAnswers(t, clusters)
		began := time.Now()
		if _, err := cluster.ID(t.Context()); !errors.Is(err, errBusy) || time.Since(began) != Budget/2 {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		time.AfterFunc(Budget/2-1, empty)
		if uid, err := cluster.ID(t.Context()); err != nil || uid != clusterUID {
			t.Errorf("with a place: %q, %v", uid, err)
		}
	})
}
