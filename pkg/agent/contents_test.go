package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestContents: a downstream Namespace goes only if it is seen to hold nothing of others, and why it stays is told.
func TestContents(t *testing.T) {
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: shop(), Name: name} }
	annotated := func(name, annotation string) metav1.ObjectMeta {
		o := in(name)
		o.Annotations = map[string]string{annotation: "x"}
		return o
	}
	ours := in("web")
	ours.Labels = map[string]string{workloadv1alpha1.LabelKey: testKey()}
	owned := in("web-1")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web"}}
	mirrored := in("kube-proxy")
	mirrored.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node-1"}}
	const stays = `is left standing: `
	tests := map[string]struct {
		reason string
		object client.Object
		lists  map[string]error
		want   string // empty: it goes
	}{
		"empty":                {"", nil, nil, ""},
		"an autoscaler":        {"", &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: in("web")}, nil, stays + `HorizontalPodAutoscaler "web" in it is not ours`},
		"a Role":               {"", &rbacv1.Role{ObjectMeta: in("web")}, nil, stays + `Role "web" in it is not ours`},
		"a Pod":                {"", &corev1.Pod{ObjectMeta: in("web-1")}, nil, stays + `Pod "web-1" in it is not ours`},
		"a Pod of something":   {"It goes with its owner, which is ours, or keeps the Namespace itself.", &corev1.Pod{ObjectMeta: owned}, nil, ""},
		"a Pod of a Node":      {"Of its owner nothing is seen here.", &corev1.Pod{ObjectMeta: mirrored}, nil, stays + `Pod "kube-proxy" in it is not ours`},
		"named as the token":   {"", &corev1.Pod{ObjectMeta: in("s3cret")}, nil, stays + `Pod "[redacted]" in it is not ours`},
		"and cut in it":        {"", &corev1.Pod{ObjectMeta: in(strings.Repeat("x", 247) + "s3cret")}, nil, stays + `Pod "` + strings.Repeat("x", 247) + `[re…`},
		"the root CA":          {"", &corev1.ConfigMap{ObjectMeta: in("kube-root-ca.crt")}, nil, ""},
		"default account":      {"", &corev1.ServiceAccount{ObjectMeta: in("default")}, nil, ""},
		"another account":      {"", &corev1.ServiceAccount{ObjectMeta: in("web")}, nil, stays + `ServiceAccount "web" in it is not ours`},
		"a token":              {"", &corev1.Secret{ObjectMeta: annotated("default-token", corev1.ServiceAccountNameKey)}, nil, ""},
		"a Secret":             {"", &corev1.Secret{ObjectMeta: in("password")}, nil, stays + `Secret "password" in it is not ours`},
		"an Event":             {"", &corev1.Event{ObjectMeta: in("web.1")}, nil, ""},
		"a newer Event":        {"", &eventsv1.Event{ObjectMeta: in("web.2")}, nil, ""},
		"Endpoints of a copy":  {"They inherit the labels of their Service.", &corev1.Endpoints{ObjectMeta: ours}, nil, ""},                                       //nolint:staticcheck // served by every cluster
		"Endpoints that last":  {"Their Service has just gone.", &corev1.Endpoints{ObjectMeta: annotated("web", corev1.EndpointsLastChangeTriggerTime)}, nil, ""}, //nolint:staticcheck // served by every cluster
		"Endpoints by hand":    {"They lead to somewhere else.", &corev1.Endpoints{ObjectMeta: in("db")}, nil, stays + `Endpoints "db" in it is not ours`},        //nolint:staticcheck // served by every cluster
		"another RoleBinding":  {"Only the one that we have made goes.", &rbacv1.RoleBinding{ObjectMeta: in("admins")}, nil, stays + `RoleBinding "admins" in it is not ours`},
		"may not be listed":    {"", nil, answering(http.StatusForbidden, "roles"), stays + `the kubeconfig's user may not list roles.rbac.authorization.k8s.io, so nobody knows`},
		"many may not be":      {"", nil, answering(http.StatusForbidden, "configmaps", "pods", "secrets", "roles", "rolebindings"), "may not list configmaps, pods, secrets, and 2 more, so"},
		"cannot be listed":     {"It is passed over when a Namespace is deleted, too.", nil, answering(http.StatusMethodNotAllowed, "roles"), ""},
		"is served no more":    {"", nil, answering(http.StatusNotFound, "roles"), ""},
		"foreign and unlisted": {"What is seen says more.", &corev1.Pod{ObjectMeta: in("web-1")}, answering(http.StatusForbidden, "roles"), `Pod "web-1" in it is not ours`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, namespaces, said := furnished(t)
			if tc.object != nil {
				if err := s.raw.Create(t.Context(), tc.object); err != nil {
					t.Fatal(err)
				}
			}
			s.failList = tc.lists
			orphans, err := namespaces.Orphans(t.Context(), func(string) bool { return false })
			if err != nil || len(orphans) != 1 {
				t.Fatalf("Orphans() = %d, %v", len(orphans), err)
			}
			if _, err := namespaces.RemoveOrphan(t.Context(), &orphans[0]); err != nil {
				t.Fatal(err)
			}
			s.failList = nil
			s.finishNamespaces(t)
			want := []string{"Namespace"}
			if tc.want == "" {
				want = nil
			}
			if diff := cmp.Diff(want, s.standing(t)); diff != "" {
				t.Errorf("%s\nleft: -want +got\n%s", tc.reason, diff)
			}
			if got := strings.Join(*said, "; "); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("%s\nsaid %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// answering lets the lists of resources fail with an HTTP status.
func answering(code int32, resources ...string) map[string]error {
	errs := map[string]error{}
	for _, r := range served {
		if slices.Contains(resources, r.Name) {
			status := metav1.Status{Code: code, Reason: map[int32]metav1.StatusReason{
				http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
				http.StatusMethodNotAllowed: metav1.StatusReasonMethodNotAllowed,
			}[code]}
			errs[r.Kind+"List"] = &apierrors.StatusError{ErrStatus: status}
		}
	}
	return errs
}

// TestClearTriesAgain: while something cannot be seen, nothing is decided and nothing told.
func TestClearTriesAgain(t *testing.T) {
	for name, spoil := range map[string]func(*server, *DownstreamNamespaces){
		"a list fails":         func(s *server, _ *DownstreamNamespaces) { s.failList = map[string]error{"RoleList": errInjected} },
		"a group is not there": func(_ *server, c *DownstreamNamespaces) { c.Unknown = errInjected },
	} {
		s, namespaces, said := furnished(t)
		spoil(s, &namespaces)
		orphans, err := namespaces.Orphans(t.Context(), func(string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		s.forget()
		if _, err := namespaces.RemoveOrphan(t.Context(), &orphans[0]); !errors.Is(err, errInjected) || len(s.writes) != 0 || len(*said) != 0 {
			t.Errorf("%s: RemoveOrphan() = %v, wrote %q, said %q", name, err, s.writes, *said)
		}
		if namespaces.Unknown != nil && len(s.reads) != 0 {
			t.Errorf("%s: read %q in vain", name, s.reads)
		}
	}
}

// TestPages: what is on the last page counts as well, and each is asked for by the token of the one before.
func TestPages(t *testing.T) {
	pages := &paging{names: []string{"kube-root-ca.crt", "web"}}
	namespaces := DownstreamNamespaces{Client: pages, Key: testKey(), Clean: redact}
	found := namespaces.lookAt(t.Context(), shop(), metav1.APIResource{Version: "v1", Name: "configmaps", Kind: "ConfigMap"}, new(atomic.Int64))
	if found.foreign != `ConfigMap "web"` || found.unknown != nil {
		t.Errorf("lookAt() = %+v", found)
	}
	if diff := cmp.Diff([]string{"", "1"}, pages.asked); diff != "" {
		t.Errorf("asked: -want +got\n%s", diff)
	}
}

// TestManyCopies: no more of them are kept than have a turn, and of each no more than is used; what is beyond is looked at.
func TestManyCopies(t *testing.T) {
	pages := &paging{names: make([]string, maxCopies+2), labels: map[string]string{workloadv1alpha1.LabelKey: testKey(), "app": "shop"}}
	pages.names[maxCopies+1] = "theirs"
	namespaces := DownstreamNamespaces{Client: pages, Key: testKey(), Clean: redact, Resources: []metav1.APIResource{{Version: "v1", Name: "configmaps", Kind: "ConfigMap"}}}
	found := namespaces.look(t.Context(), shop())
	if len(found.copies) != maxCopies || !found.more || found.unknown != nil || found.foreign != `ConfigMap "theirs"` {
		t.Errorf("look() = %d copies, more = %t, %v, foreign = %s", len(found.copies), found.more, found.unknown, found.foreign)
	}
	want := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{
		UID: "uid", Labels: map[string]string{workloadv1alpha1.LabelKey: ""}, Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: ""},
	}}
	if diff := cmp.Diff(want, found.copies[0]); diff != "" {
		t.Errorf("kept: -want +got\n%s", diff)
	}
}

// TestMoreCopiesThanAtOnce: a Namespace goes as a whole, however many there are; where they go one by one, the rest has its turn.
func TestMoreCopiesThanAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		foreign, orphan bool
		waiting         string
		want            []string
	}{
		"as a whole": {},
		"one by one": {foreign: true, waiting: `Namespace "` + shop() + `" holds more copies than are removed at once`, want: []string{"Namespace", "foreign"}},
		"orphan":     {orphan: true, waiting: `Namespace "` + shop() + `" holds more copies than are removed at once`, want: []string{"Namespace", "copy"}},
	} {
		t.Run(name, func(t *testing.T) {
			there := []string{"copy"}
			if tc.foreign {
				there = append(there, "foreign")
			}
			s, namespaces, said := furnished(t, there...)
			namespaces.Client = &crowd{Client: s, left: maxCopies}
			waiting, done, err := namespaces.removeAll(t, tc.orphan)
			if tc.waiting == "" {
				s.finishNamespaces(t)
			} else if waiting != tc.waiting || done || err != nil || len(*said) != 0 {
				t.Fatalf("Remove() = %q, %t, %v; said %q", waiting, done, err, *said)
			}
			if _, done, err = namespaces.removeAll(t, tc.orphan); !done || err != nil {
				t.Errorf("Remove() again = %t, %v", done, err)
			}
			if diff := cmp.Diff(tc.want, s.standing(t)); diff != "" {
				t.Errorf("left: -want +got\n%s", diff)
			}
		})
	}
}

// crowd is a server with so many copies more, once, which it takes no notice of being told to change.
type crowd struct {
	client.Client
	left int
}

func (c *crowd) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := c.Client.List(ctx, list, opts...); err != nil || list.GetObjectKind().GroupVersionKind().Kind != "ConfigMapList" {
		return err
	}
	into := list.(*metav1.PartialObjectMetadataList)
	for ; c.left > 0; c.left-- {
		into.Items = append(into.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: shop(), Name: fmt.Sprintf("crowd-%d", c.left), Labels: map[string]string{workloadv1alpha1.LabelKey: testKey()},
			Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: "source"},
		}})
	}
	return nil
}

func (c *crowd) Delete(ctx context.Context, object client.Object, opts ...client.DeleteOption) error {
	if strings.HasPrefix(object.GetName(), "crowd-") {
		return nil
	}
	return c.Client.Delete(ctx, object, opts...)
}

func (c *crowd) Patch(ctx context.Context, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
	if strings.HasPrefix(object.GetName(), "crowd-") {
		return nil
	}
	return c.Client.Patch(ctx, object, patch, opts...)
}

// TestHangingList: one server that hangs uses up no pass; what is found of the others goes.
func TestHangingList(t *testing.T) {
	s, namespaces, _ := furnished(t, "copy", "copy-budget")
	mustApply(t, s, DownstreamNamespace(testConfig(), "zoo"))
	namespaces.Client = hanging{s}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, done, err := namespaces.removeAll(t, false); done || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Remove() = %t, %v", done, err)
		}
		if took := time.Since(began); took != listTime {
			t.Errorf("after %s", took)
		}
	})
	if diff := cmp.Diff([]string{"Namespace ours", "rights"}, s.standing(t)); diff != "" {
		t.Errorf("left: -want +got\n%s", diff)
	}
}

// hanging is a server that does not answer of some of its resources.
type hanging struct{ client.Client }

func (h hanging) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if kind := list.GetObjectKind().GroupVersionKind().Kind; kind == "RoleList" {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Client.List(ctx, list, opts...)
}

// paging serves one object on each page, the labels with those that have no name.
type paging struct {
	client.Client
	names, asked []string
	labels       map[string]string
}

func (p *paging) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	into := list.(*metav1.PartialObjectMetadataList)
	if options.Limit != pageSize || into.GroupVersionKind() != (schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"}) {
		return errInjected
	}
	object := metav1.ObjectMeta{Name: p.names[len(p.asked)]}
	if object.Name == "" {
		object.UID, object.Labels, object.Annotations = "uid", p.labels, map[string]string{workloadv1alpha1.AnnotationSourceUID: "source", "note": "mine"}
	}
	into.Items, into.Continue = []metav1.PartialObjectMetadata{{ObjectMeta: object}}, ""
	if p.asked = append(p.asked, options.Continue); len(p.asked) < len(p.names) {
		into.Continue = "1"
	}
	return nil
}
