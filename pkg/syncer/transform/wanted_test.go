package transform

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestNotSynced holds the rule by which an object is not synced, and the sentence that says so.
func TestNotSynced(t *testing.T) {
	object := func(kind, name string, change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": kind}}
		o.SetName(name)
		for _, c := range change {
			c(o)
		}
		return o
	}
	labelled := func(name, value string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			labels := o.GetLabels()
			if labels == nil {
				labels = map[string]string{}
			}
			labels[name] = value
			o.SetLabels(labels)
		}
	}
	annotated := func(name, value string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{name: value}) }
	}
	with := func(field string, value any) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) { o.Object[field] = value }
	}
	held := func(finalizer string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) { o.SetFinalizers([]string{finalizer}) }
	}
	token := with("type", "kubernetes.io/service-account-token")
	optedIn, optedOut := labelled(workloadv1alpha1.LabelSync, "true"), labelled(workloadv1alpha1.LabelSync, "false")
	const (
		isToken   = "this Secret is the token of a ServiceAccount and valid in its workspace only; the physical cluster issues its own tokens"
		isHeld    = "a SyncTarget uses this Secret to connect to its physical cluster; such a Secret does not leave the workspace"
		isVisible = "the label workload.kcp.io/visible=true marks this Secret as the kubeconfig of a physical cluster, which does not leave the workspace; remove the label if it is none"
		isAccount = `each cluster puts its own ServiceAccount "default" into every Namespace, and this one has not been changed; it is synced once it has imagePullSecrets, automountServiceAccountToken, or labels or annotations of its own`
		isRootCA  = `each cluster puts its own ConfigMap "kube-root-ca.crt" into every Namespace`
		isService = `each cluster puts its own ConfigMap "openshift-service-ca.crt" into every Namespace`
		isOut     = "the label workload.kcp.io/sync=false keeps this object from being synced; remove the label to sync it"
	)
	tests := map[string]struct {
		reason       string
		object       *unstructured.Unstructured
		never, label string
	}{
		"usual":                     {"", object("ConfigMap", "a"), "", ""},
		"opted in":                  {"Only false opts out.", object("ConfigMap", "a", optedIn), "", ""},
		"opted out":                 {"", object("ConfigMap", "a", optedOut), "", isOut},
		"secret":                    {"", object("Secret", "s", with("type", "Opaque")), "", ""},
		"secret, opted out":         {"", object("Secret", "s", optedOut), "", isOut},
		"token":                     {"It is good for kcp alone.", object("Secret", "t", token), isToken, ""},
		"token, opted in":           {"A label does not change it.", object("Secret", "t", token, optedIn), isToken, ""},
		"token, opted out":          {"Without the label it is not synced either.", object("Secret", "t", token, optedOut), isToken, ""},
		"token of a syncer":         {"", object("Secret", "t", token, held(workloadv1alpha1.SyncTargetFinalizer("a")), labelled(workloadv1alpha1.LabelVisible, "true")), isToken, ""},
		"kubeconfig of a target":    {"It opens a cluster, perhaps another one.", object("Secret", "k", held(workloadv1alpha1.SyncTargetFinalizer("a"))), isHeld, ""},
		"kubeconfig, shown":         {"", object("Secret", "k", held(workloadv1alpha1.SyncTargetFinalizer("a")), labelled(workloadv1alpha1.LabelVisible, "true")), isHeld, ""},
		"kubeconfig to be":          {"No SyncTarget refers to it yet, or any more.", object("Secret", "k", labelled(workloadv1alpha1.LabelVisible, "true")), isVisible, ""},
		"not shown":                 {"", object("Secret", "k", labelled(workloadv1alpha1.LabelVisible, "false")), "", ""},
		"held by the syncer":        {"", object("Secret", "s", held(workloadv1alpha1.SyncerFinalizer("a"))), "", ""},
		"ConfigMap that is shown":   {"", object("ConfigMap", "a", labelled(workloadv1alpha1.LabelVisible, "true")), "", ""},
		"root CA":                   {"Each cluster has its own.", object("ConfigMap", "kube-root-ca.crt"), isRootCA, ""},
		"root CA, labelled":         {"It is the cluster's all the same.", object("ConfigMap", "kube-root-ca.crt", labelled("team", "shop")), isRootCA, ""},
		"CA of services":            {"", object("ConfigMap", "openshift-service-ca.crt"), isService, ""},
		"default account":           {"Each Namespace has its own.", object("ServiceAccount", "default"), isAccount, ""},
		"default account, opted in": {"The label is not for the physical cluster.", object("ServiceAccount", "default", optedIn), isAccount, ""},
		"account with pull secrets": {"Pods want its Secrets for their images.", object("ServiceAccount", "default",
			with("imagePullSecrets", []any{map[string]any{"name": "registry"}})), "", ""},
		"account without a token":      {"", object("ServiceAccount", "default", with("automountServiceAccountToken", false)), "", ""},
		"account with a role":          {"Of a cloud, say.", object("ServiceAccount", "default", annotated("eks.amazonaws.com/role-arn", "arn:aws:iam::1:role/shop")), "", ""},
		"account with a label":         {"", object("ServiceAccount", "default", labelled("team", "shop")), "", ""},
		"changed account, opted out":   {"", object("ServiceAccount", "default", labelled("team", "shop"), optedOut), "", isOut},
		"account with metadata of kcp": {"", object("ServiceAccount", "default", annotated("kcp.io/cluster", "2vkq1d7w9hx0a3bc")), isAccount, ""},
		"another account":              {"", object("ServiceAccount", "builder"), "", ""},
		"of another group": {"", &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"},
		}}, "", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := NeverSynced(tc.object); got != tc.never {
				t.Errorf("%s\nNeverSynced() = %q\nwant %q", tc.reason, got, tc.never)
			}
			if got, want := NotSynced(tc.object), tc.never+tc.label; got != want {
				t.Errorf("%s\nNotSynced() = %q\nwant %q", tc.reason, got, want)
			}
			if got, want := IsWanted(tc.object), tc.never+tc.label == ""; got != want {
				t.Errorf("%s\nIsWanted() = %t", tc.reason, got)
			}
			deleted, now := tc.object.DeepCopy(), metav1.Now()
			deleted.SetDeletionTimestamp(&now)
			if IsWanted(deleted) {
				t.Error("it is wanted although it is deleted")
			}
		})
	}
}
