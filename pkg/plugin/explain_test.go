package plugin

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

func before(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// scene is a workspace in which Deployment "web" runs in Namespace "shop", on SyncTarget "edge-1".
type scene struct {
	binding    *apisv1alpha2.APIBinding
	target     *workloadv1alpha1.SyncTarget
	namespace  *corev1.Namespace
	placement  *workloadv1alpha1.Placement
	assignment *workloadv1alpha1.Assignment
	web        *appsv1.Deployment
	others     []client.Object
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{binding: bound(t), target: syncing(newTarget("edge-1")), placement: newPlacement("shop", "shop")}
	s.namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "shop", Labels: map[string]string{"app": "shop"}, CreationTimestamp: before(time.Hour)}}
	s.assignment = running(s.target, "shop")
	s.web = &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 3, CreationTimestamp: before(30 * time.Minute)},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)},
	}
	s.report(rejection.Report{Generation: 3, Ready: "Current"})
	return s
}

// syncing is a SyncTarget that is Ready and syncs what the tests have.
func syncing(target *workloadv1alpha1.SyncTarget) *workloadv1alpha1.SyncTarget {
	withConditions(target, readyNow()...)
	for _, r := range []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: "apps", Resource: "deployments"}, {Group: "batch", Resource: "jobs"}} {
		target.Status.SyncedResources = append(target.Status.SyncedResources, workloadv1alpha1.SyncedResourceStatus{
			Group: r.Group, Resource: r.Resource, State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"},
		})
	}
	return target
}

// newPlacement selects the Namespaces with a value of the label app.
func newPlacement(name, app string) *workloadv1alpha1.Placement {
	return &workloadv1alpha1.Placement{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1, CreationTimestamp: before(2 * time.Hour), Finalizers: []string{workloadv1alpha1.PlacementFinalizer}},
		Spec:       workloadv1alpha1.PlacementSpec{NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, NumberOfClusters: 1},
		Status:     workloadv1alpha1.PlacementStatus{ObservedGeneration: 1, Namespaces: []workloadv1alpha1.PlacedNamespace{{Name: app}}},
	}
}

// running is the Assignment of a Namespace of which everything runs.
func running(target *workloadv1alpha1.SyncTarget, namespace string) *workloadv1alpha1.Assignment {
	a := newAssignment(target, namespace, condition("Admitted", "True", "Admitted", ""), condition("Applied", "True", "Applied", "everything has reached the physical cluster"),
		condition("Available", "True", "Available", "everything that serves is ready"))
	for i := range a.Status.Conditions {
		a.Status.Conditions[i].LastTransitionTime = before(5 * time.Minute)
	}
	a.Spec.Placement.Name, a.Spec.WritesStatus = "shop", true
	return a
}

// report sets what the syncer of edge-1 says on the Deployment.
func (s *scene) report(r rejection.Report) {
	if r.Time == "" {
		r.Time = now.Add(-2 * time.Minute).Format(time.RFC3339)
	}
	setReport(s.web, s.target, r)
}

func setReport(object client.Object, target *workloadv1alpha1.SyncTarget, r rejection.Report) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[workloadv1alpha1.SyncAnnotation(target.Status.Key)] = r.String()
	object.SetAnnotations(annotations)
}

// setReported sets a condition of the Assignment.
func (s *scene) setReported(c metav1.Condition) {
	c.LastTransitionTime = before(7 * time.Minute)
	s.assignment.Status.Conditions = append(slices.DeleteFunc(s.assignment.Status.Conditions, func(have metav1.Condition) bool { return have.Type == c.Type }), c)
}

// silence makes the syncer silent.
func (s *scene) silence() {
	withConditions(s.target, readyNow()[0], readyNow()[1], condition("Ready", "False", "Unhealthy", "Syncer is not healthy"))
	s.target.Status.LastHeartbeatTime = ptr.To(before(20 * time.Minute))
}

// everything is what there is in the workspace.
func (s *scene) everything() []client.Object {
	all := slices.Clone(s.others)
	if s.binding != nil {
		all = append(all, s.binding)
	}
	if s.assignment != nil {
		all = append(all, s.assignment)
	}
	if s.web != nil {
		all = append(all, s.web)
	}
	return append(all, s.target, s.namespace, s.placement)
}

// TestExplain has an output for each link that can break.
func TestExplain(t *testing.T) {
	web := "deployment/web -n shop"
	for name, tc := range map[string]struct {
		args   string
		change func(*scene)
	}{
		"holds":         {web, func(*scene) {}},
		"object-absent": {web, func(s *scene) { s.web = nil }},
		"object-deleted": {web, func(s *scene) {
			s.web.DeletionTimestamp, s.web.Finalizers = ptr.To(before(time.Minute)), []string{"example.com/keep"}
		}},
		"kind-unknown": {"cronjob/web -n shop", func(*scene) {}},
		"cluster-scoped": {"clusterrole.rbac.authorization.k8s.io/admin", func(s *scene) {
			s.others = []client.Object{&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "admin"}}}
		}},
		"namespace-deleted": {web, func(s *scene) { s.namespace.DeletionTimestamp = ptr.To(before(time.Minute)) }},
		"namespace-refused": {web, func(s *scene) { s.target.Spec.KubeconfigSecretRef.Namespace = "shop" }},
		"binding":           {web, func(s *scene) { s.binding.Spec.PermissionClaims = s.binding.Spec.PermissionClaims[1:] }},
		"no-placement":      {web, func(s *scene) { s.namespace.Labels["app"], s.assignment = "cafe", nil }},
		"pending":           {web, pending},
		"held": {web, func(s *scene) {
			s.placement.Status.Namespaces[0].Message = "it is to leave SyncTarget \"edge-1\" (Drain): 0/1 clusters: 1 being drained"
		}},
		"not-admitted": {web, func(s *scene) {
			s.setReported(condition("Admitted", "False", "Admitting", "Waiting for the ServiceAccount of the syncer"))
		}},
		"leaves": {web, leaves},
		"resource": {web, func(s *scene) {
			s.target.Status.SyncedResources[1].State, s.target.Status.SyncedResources[1].Message = workloadv1alpha1.ResourceMissing, "the physical cluster does not serve it"
		}},
		"opted-out":          {web, func(s *scene) { s.web.Labels = map[string]string{workloadv1alpha1.LabelSync: "false"} }},
		"elsewhere":          {"job/import -n shop", elsewhere},
		"not-applied":        {web, func(s *scene) { s.report(rejection.Report{Generation: 2, Ready: "Current"}) }},
		"not-applied-silent": {web, func(s *scene) { s.report(rejection.Report{Generation: 2, Ready: "Current"}); s.silence() }},
		"refused": {web, func(s *scene) {
			s.report(rejection.Report{Generation: 2, Ready: "Differs", Refused: `refused by quota "team": requested: cpu=4, used: cpu=7, limited: cpu=8`})
		}},
		"conflict": {web, func(s *scene) {
			s.report(rejection.Report{Generation: 3, Ready: "Differs", Conflict: `spec.replicas is owned by "autoscaler"; this field is left as it is in the physical cluster. To set it from here, annotate the Deployment with workload.kcp.io/take-over=true`})
		}},
		"not-ready": {web, func(s *scene) {
			s.report(rejection.Report{Generation: 3, Ready: "InProgress"})
			s.web.Status = appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 1, AvailableReplicas: 1}
		}},
		"silent":    {web, (*scene).silence},
		"namespace": {"namespace shop", func(*scene) {}},
		"namespace-failing": {"ns/shop", func(s *scene) {
			s.setReported(condition("Applied", "False", "ObjectsFailing", `deployments.apps "web" is refused by the physical cluster, or has failed there; see its annotation`))
		}},
		"json": {web + " -o json", func(s *scene) { s.report(rejection.Report{Generation: 2, Ready: "Current"}) }},
		"yaml": {web + " -o yaml", func(*scene) {}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			tc.change(s)
			newServed(t, s.everything()...).golden("explain-"+name, append([]string{"explain"}, strings.Fields(tc.args)...)...)
		})
	}
}

// pending: the Namespace has no cluster, and another Placement does not count.
func pending(s *scene) {
	other := newPlacement("all", "shop")
	other.CreationTimestamp = before(time.Hour)
	s.others, s.assignment = []client.Object{other}, nil
	s.placement.Status.Namespaces[0].Message = "0/3 clusters: 1 cordoned, 1 has taint dedicated=gpu:NoSchedule, 1 not ready"
}

// leaves: the Namespace has moved to edge-2, and its copies on edge-1 have yet to go.
func leaves(s *scene) {
	second := syncing(newTarget("edge-2"))
	moved := running(second, "shop")
	moved.Spec.Reason, moved.Spec.Replaces = workloadv1alpha1.AssignmentDrain, "edge-1"
	s.others = []client.Object{second, moved}
	setReport(s.web, second, rejection.Report{Generation: 3, Ready: "Current", Time: now.Add(-time.Minute).Format(time.RFC3339)})
	s.assignment.Spec.Intent, s.assignment.Spec.Reason, s.assignment.Spec.Order = workloadv1alpha1.IntentWithdraw, workloadv1alpha1.AssignmentDrain, 1
	s.setReported(condition("Withdrawn", "False", "Withdrawing", "copies, or the finalizers that stand for them, have yet to go"))
}

// elsewhere: of two clusters, a Job runs on the first alone.
func elsewhere(s *scene) {
	second := syncing(newTarget("edge-2"))
	alsoOn := running(second, "shop")
	alsoOn.Spec.Order = 1
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "import", Generation: 1, CreationTimestamp: before(time.Hour)}}
	setReport(job, s.target, rejection.Report{Generation: 1, Ready: "Current", Time: now.Add(-time.Minute).Format(time.RFC3339)})
	setReport(job, second, rejection.Report{Message: `a Job runs on the first of the clusters of its Namespace alone, which is another one; Namespace "shop" of the workspace tells which`})
	s.others = []client.Object{second, alsoOn, job}
	s.placement.Spec.NumberOfClusters = 2
}

// TestChain: which link is the first broken one, in cases that differ in little.
func TestChain(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*scene)
		// link is the first broken one, empty for none, and words are in its message.
		link, words string
	}{
		"all holds":                              {func(*scene) {}, "", ""},
		"a younger Placement does not count":     {func(s *scene) { s.others = append(s.others, younger("all")) }, "", ""},
		"an Assignment of an earlier Namespace":  {func(s *scene) { s.assignment.Spec.Namespace.UID = "earlier" }, "Decision", "0 of 1 clusters: the service has yet to decide"},
		"an Assignment of an earlier SyncTarget": {func(s *scene) { s.assignment.Labels[workloadv1alpha1.LabelUID] = "earlier" }, "Decision", "0 of 1"},
		"an Assignment elsewhere does not count": {func(s *scene) { s.assignment.Namespace = "default" }, "Decision", "0 of 1"},
		"the Placement has changed":              {func(s *scene) { s.placement.Generation = 2 }, "Decision", "has not seen the last change"},
		"more clusters are asked for":            {func(s *scene) { s.placement.Spec.NumberOfClusters = 2 }, "Decision", "1 of 2"},
		"beyond 100 Namespaces": {func(s *scene) {
			s.placement.Status.Namespaces, s.assignment = nil, nil
			s.namespace.Annotations = map[string]string{workloadv1alpha1.AnnotationPlacement: `{"placement":"shop","message":"0/1 clusters: 1 cordoned"}`}
		}, "Decision", "0/1 clusters: 1 cordoned"},
		"its Placement is gone, and it runs": {func(s *scene) {
			s.namespace.Labels = nil
			s.namespace.Annotations = map[string]string{workloadv1alpha1.AnnotationPlacement: `{"placement":"shop","message":"Placement \"shop\" is gone"}`}
		}, "Placement", "is gone"},
		"nothing is known of the rights": {func(s *scene) { s.assignment.Status.Conditions = nil }, "Assignment", "has yet to get its rights"},
		"the Assignment was not read":    {func(s *scene) { s.assignment.Spec.Epoch = 2 }, "Assignment", "has yet to read"},
		"what fails beside it":           {func(s *scene) { s.setReported(condition("Applied", "False", "ObjectsFailing", "another")) }, "", ""},
		"a resource that is not synced": {func(s *scene) {
			s.target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "secrets"}}
		}, "Resource", "are not among its resources"},
		"a resource without a report":    {func(s *scene) { s.target.Status.SyncedResources = nil }, "Resource", "has yet to report"},
		"a watch that fails":             {func(s *scene) { s.target.Status.SyncedResources[1].UnwatchedSince = ptr.To(before(time.Minute)) }, "Resource", "changes have not been seen for 60s"},
		"no report":                      {func(s *scene) { s.web.Annotations = nil }, "Applied", "has yet to report on the object"},
		"a report that somebody changed": {func(s *scene) { s.web.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)] = "{" }, "Applied", "has yet to report on the object"},
		"never applied, and refused":     {func(s *scene) { s.report(rejection.Report{Refused: "invalid: spec.x"}) }, "Applied", "invalid: spec.x"},
		"no generation":                  {func(s *scene) { s.web.Generation = 0; s.report(rejection.Report{Ready: "Current"}) }, "", ""},
		"other values": {func(s *scene) {
			s.report(rejection.Report{Generation: 3, Ready: "Differs", Differs: []string{"spec.paused"}})
		}, "Unchanged", "spec.paused"},
		"failed": {func(s *scene) {
			s.report(rejection.Report{Generation: 3, Ready: "Failed", Message: "deadline exceeded"})
		}, "Ready", "the copy is Failed: deadline exceeded"},
		"no readiness yet": {func(s *scene) { s.report(rejection.Report{Generation: 3}) }, "Ready", "Unknown"},
		"another writes the status": {func(s *scene) {
			s.assignment.Spec.WritesStatus = false
			s.report(rejection.Report{Generation: 3, Ready: "InProgress"})
		}, "Ready", "its status says no more"},
		"the binding may not be read": {func(s *scene) { s.binding = nil }, "", ""},
		"an optional claim is missing": {func(s *scene) {
			s.binding.Spec.PermissionClaims = slices.DeleteFunc(s.binding.Spec.PermissionClaims, func(c apisv1alpha2.AcceptablePermissionClaim) bool { return c.Resource == "events" })
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			tc.change(s)
			w := newServed(t, s.everything()...)
			if s.binding == nil {
				w.served.forbidden = []string{"apibindings"}
			}
			c := chainOf(w.facts("deployments", "shop", "web"), "root:team")
			first, _ := c.broken()
			if first == nil {
				first = &link{}
			}
			if first.Name != tc.link || !strings.Contains(first.Message, tc.words) || tc.link != "" && first.Next == "" {
				t.Errorf("%+v is broken, want %q with %q", *first, tc.link, tc.words)
			}
			after := false
			for _, l := range c.Links {
				if after && (l.State != linkNotJudged || l.Message != "") {
					t.Errorf("%+v is judged after a broken link", l)
				}
				after = after || l.State == linkBroken
			}
		})
	}
}

// younger selects the Namespaces of the shop, and does not count.
func younger(name string) *workloadv1alpha1.Placement {
	p := newPlacement(name, "shop")
	p.CreationTimestamp = before(time.Minute)
	return p
}

// facts reads those of an object.
func (w *world) facts(kind, namespace, name string) *facts {
	w.t.Helper()
	p := newPlugin(genericiooptions.IOStreams{Out: &w.out, ErrOut: &w.err}, "v0.2.0")
	*p.kubeconfig.KubeConfig = w.kubeconfig
	workspace, err := p.upstream()
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := readFacts(w.t.Context(), workspace, kind, namespace, name, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// TestExplainKinds: a kind is found by all of its names, and only where it is served.
func TestExplainKinds(t *testing.T) {
	for _, kind := range []string{"deployment", "deployments", "deploy", "Deployment", "deployment.apps", "Deployment.apps"} {
		s := newScene(t)
		w := newServed(t, s.everything()...)
		if code := w.run("explain", kind, "web", "-n", "shop"); code != exitOK || !strings.HasPrefix(w.out.String(), `Deployment "web" in Namespace "shop"`) {
			t.Errorf("%s: exit code %d:\n%s%s", kind, code, &w.out, &w.err)
		}
	}
	for _, kind := range []string{"widget", "deployment.batch", "widget.example.com"} {
		w := newServed(t, newScene(t).everything()...)
		if code := w.run("explain", kind+"/web", "-n", "shop"); code != exitFailed || !strings.Contains(w.err.String(), "the workspace does not serve") {
			t.Errorf("%s: exit code %d:\n%s%s", kind, code, &w.out, &w.err)
		}
	}
}

// TestExplainUnavailableGroup: a group whose resources cannot be read hides no kind of another one, and is named where the kind may be
// one of its own.
func TestExplainUnavailableGroup(t *testing.T) {
	w := newServed(t, newScene(t).everything()...)
	w.served.unavailable = "batch/v1"
	if w.run("explain", "ingress/web", "-n", "shop"); !strings.Contains(w.out.String()+w.err.String(), `Ingress "web"`) {
		t.Errorf("an Ingress is not found:\n%s%s", &w.out, &w.err)
	}
	w = newServed(t, newScene(t).everything()...)
	w.served.unavailable = "batch/v1"
	if code := w.run("explain", "job/web", "-n", "shop"); code != exitFailed || !strings.Contains(w.err.String(), "batch/v1") {
		t.Errorf("a Job: exit code %d:\n%s%s", code, &w.out, &w.err)
	}
}

// TestExplainRequests: whatever is explained costs at most 15 requests, also where the SyncTargets sync resources of many groups.
func TestExplainRequests(t *testing.T) {
	const most = 15
	for name, args := range map[string][]string{
		"an object": {"deployment/web", "-n", "shop"}, "a Namespace": {"namespace/shop"}, "the last group": {"ingress/web", "-n", "shop"}, "no kind": {"widget/web"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			w := newServed(t)
			for i := range 20 {
				group := fmt.Sprintf("g%d.example.com", i)
				s.target.Spec.SyncedResources = append(s.target.Spec.SyncedResources, workloadv1alpha1.GroupResource{Group: group, Resource: "things"})
				w.served.kinds = append(w.served.kinds, metav1.APIResourceList{GroupVersion: group + "/v1"})
			}
			for i := range 50 {
				other := syncing(newTarget(fmt.Sprintf("other-%d", i)))
				s.others = append(s.others, other, running(other, "shop"))
			}
			w.served.objects = s.everything()
			w.run(append([]string{"explain"}, args...)...)
			if got := len(w.served.made()); got > most {
				t.Errorf("%d requests, want at most %d:\n%s", got, most, strings.Join(w.served.made(), "\n"))
			}
			for _, request := range w.served.made() {
				if !strings.HasPrefix(request, "GET ") {
					t.Errorf("it changes something: %s", request)
				}
				if strings.Contains(request, "/assignments") && !strings.Contains(request, "fieldSelector=metadata.name") {
					t.Errorf("it lists the Assignments of all Namespaces: %s", request)
				}
			}
		})
	}
}

// TestWordsOfOthers: what others have written, such as the message of a webhook, changes nothing on the terminal, and adds no line.
func TestWordsOfOthers(t *testing.T) {
	var out bytes.Buffer
	writeLinks(&out, []link{{Name: "Applied", State: linkBroken, Message: "refused\n✔ Ready \x1b[2Kthe copy is ready"}})
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if got := withMessage("Placement shop", "a\x1b[31m"); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
