package syncer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// server plays both sides: a physical cluster of one node with a Lease, and the SyncTarget in kcp. What it does
// not know it does not allow, so that a request beyond the roles that the installer grants fails the test.
type server struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	lease   *coordinationv1.Lease
	patches []string
	// uid is that of the SyncTarget; "" if it does not exist.
	uid string
	// refusal is how kcp answers every request; 0 if it does not refuse.
	refusal int
	// toKcp and toCluster count the requests since they were last read.
	toKcp, toCluster int
	// open is how many requests, such as watches, have not ended.
	open atomic.Int32
	// beat gets a value with every patch, if there is room.
	beat chan struct{}
	// stop ends the watches.
	stop chan struct{}
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, uid: "u-1", beat: make(chan struct{}, 100), stop: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		close(s.stop)
		s.Close()
	})
	return s
}

const nodeJSON = `{"kind":"Node","apiVersion":"v1","metadata":{"name":"n-1","uid":"n-1","resourceVersion":"1"},
	"status":{"capacity":{"cpu":"4"},"allocatable":{"cpu":"3"},"conditions":[{"type":"Ready","status":"True"}]}}`

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.open.Add(1)
	defer s.open.Add(-1)
	uid, refusal := s.count(r)
	if refusal != 0 {
		answer(w, refusal, "")
		return
	}
	const (
		leases  = "/apis/coordination.k8s.io/v1/namespaces/kcp-syncer-edge-1-k/leases"
		targets = "/clusters/abc/apis/workload.kcp.io/v1alpha1/synctargets"
		status  = targets + "/edge-1/status"
		// assignments are those of the SyncTarget.
		assignments = "/clusters/abc/apis/workload.kcp.io/v1alpha1/namespaces/kcp-syncer-edge-1-k/assignments"
	)
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v1/namespaces/kube-system":
		_, _ = fmt.Fprint(w, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"c-1"}}`)
	case "GET /version":
		_, _ = fmt.Fprint(w, `{"gitVersion":"v1.34.4"}`)
	case "GET /api/v1/nodes":
		s.serveNodes(w, r)
	case "GET " + leases + "/" + options.LeaseName, "POST " + leases, "PUT " + leases + "/" + options.LeaseName:
		s.serveLease(w, r)
	case "GET " + targets:
		if r.URL.Query().Get("fieldSelector") != "metadata.name=edge-1" {
			s.t.Errorf("a request that no role allows: %s %s", r.Method, r.URL)
		}
		s.serveNone(w, r, "SyncTarget")
	case "GET " + assignments:
		if r.URL.Query().Get("labelSelector") != "workload.kcp.io/uid=u-1" {
			s.t.Errorf("a request for the Assignments of others: %s %s", r.Method, r.URL)
		}
		s.serveNone(w, r, "Assignment")
	case "GET " + targets + "/edge-1":
		if uid == "" {
			answer(w, http.StatusNotFound, "NotFound")
			return
		}
		_, _ = fmt.Fprintf(w, `{"kind":"SyncTarget","apiVersion":"workload.kcp.io/v1alpha1","metadata":{"name":"edge-1","uid":%q},"status":{"key":"k"}}`, uid)
	case "PATCH " + status:
		switch uid {
		case "u-1":
		case "":
			answer(w, http.StatusNotFound, "NotFound")
			return
		default: // the test of the UID fails
			answer(w, http.StatusUnprocessableEntity, "Invalid")
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.patches = append(s.patches, string(body))
		s.mu.Unlock()
		_, _ = fmt.Fprint(w, `{}`)
		s.beat <- struct{}{}
	case "PATCH /clusters/abc/apis/coordination.k8s.io/v1/namespaces/kcp-syncer-edge-1-k/leases/syncer":
		answer(w, http.StatusNotFound, "NotFound") // the controller is of a version that makes no Lease
	default:
		s.t.Errorf("a request that no role allows: %s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusForbidden)
	}
}

// count counts a request and returns how it is to be answered, if it is one to kcp.
func (s *server) count(r *http.Request) (uid string, refusal int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/clusters/") {
		s.toKcp++
		return s.uid, s.refusal
	}
	s.toCluster++
	return "", 0
}

// counted returns how many requests each side has got since it was last called.
func (s *server) counted() (toKcp, toCluster int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	toKcp, toCluster = s.toKcp, s.toCluster
	s.toKcp, s.toCluster = 0, 0
	return toKcp, toCluster
}

// setTarget sets the UID of the SyncTarget, and how kcp answers.
func (s *server) setTarget(uid string, refusal int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uid, s.refusal = uid, refusal
}

// answer is a failure of a request about the SyncTarget.
func answer(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,`+
		`"details":{"name":"edge-1","group":"workload.kcp.io","kind":"synctargets"}}`, reason, code)
}

func (s *server) serveNodes(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") == "" {
		_, _ = fmt.Fprintf(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[%s]}`, nodeJSON)
		return
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		bookmark := `{"type":"BOOKMARK","object":{"kind":"Node","apiVersion":"v1",` +
			`"metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}`
		_, _ = fmt.Fprintf(w, "{\"type\":\"ADDED\",\"object\":%s}\n%s\n", strings.ReplaceAll(nodeJSON, "\n", ""), bookmark)
	}
	w.(http.Flusher).Flush()
	select {
	case <-r.Context().Done():
	case <-s.stop:
	}
}

// serveNone lists nothing of a kind: without a SyncTarget nothing is synced, and nothing asked.
func (s *server) serveNone(w http.ResponseWriter, r *http.Request, kind string) {
	if r.URL.Query().Get("watch") == "" {
		_, _ = fmt.Fprintf(w, `{"kind":"%sList","apiVersion":"workload.kcp.io/v1alpha1","metadata":{"resourceVersion":"1"},"items":[]}`, kind)
		return
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		_, _ = fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"kind":%q,"apiVersion":"workload.kcp.io/v1alpha1",`+
			`"metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n", kind)
	}
	w.(http.Flusher).Flush()
	select {
	case <-r.Context().Done():
	case <-s.stop:
	}
}

func (s *server) serveLease(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet && s.lease == nil {
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		return
	}
	if r.Method != http.MethodGet {
		body, _ := io.ReadAll(r.Body)
		lease := &coordinationv1.Lease{}
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, lease); err != nil {
			s.t.Errorf("reading the Lease: %v", err)
		}
		lease.APIVersion, lease.Kind = "coordination.k8s.io/v1", "Lease"
		s.lease = lease
	}
	_ = json.NewEncoder(w).Encode(s.lease)
}

// holder is who holds the Lease, "" for nobody.
func (s *server) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil || s.lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *s.lease.Spec.HolderIdentity
}

func (s *server) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.patches
}

// kubeconfig writes one that leads to this server, below path.
func (s *server) kubeconfig(path string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s%s"}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
`, s.URL, path)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}
