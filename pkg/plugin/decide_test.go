package plugin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestWorkspaceURL(t *testing.T) {
	const root, team = "https://kcp.example.com:6443", "https://kcp.example.com:6443/clusters/root:org:team"
	for name, tc := range map[string]struct{ host, workspace, want, err string }{
		"the context's":        {team, "", team, ""},
		"dot":                  {team, ".", team, ""},
		"a logical cluster":    {root + "/clusters/" + testCluster, "", root + "/clusters/" + testCluster, ""},
		"a trailing slash":     {team + "/", "", team, ""},
		"below a prefix":       {"https://example.com/kcp/clusters/root", "org", "https://example.com/kcp/clusters/root:org", ""},
		"absolute":             {team, "root:other", root + "/clusters/root:other", ""},
		"absolute, with colon": {team, ":root:other", root + "/clusters/root:other", ""},
		"root":                 {team, "root", root + "/clusters/root", ""},
		"without a workspace":  {root, "root:other", root + "/clusters/root:other", ""},
		"relative":             {team, "a:b", team + ":a:b", ""},
		"parent":               {team, "..", root + "/clusters/root:org", ""},
		"sibling":              {team, "..:other", root + "/clusters/root:org:other", ""},
		"relative to an ID":    {root + "/clusters/" + testCluster, "a", root + "/clusters/" + testCluster + ":a", ""},
		"above root":           {root + "/clusters/root", "..", "", "goes above"},
		"relative to nothing":  {root, "team", "", "is relative"},
		"nothing":              {root, "", "", "is no workspace of kcp"},
		"no path":              {team, "a/b", "", "is no path"},
		"an empty part":        {team, "root::a", "", "is no path"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := workspaceURL(tc.host, tc.workspace)
			if got != tc.want || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%q, %v; want %q, %q", got, err, tc.want, tc.err)
			}
		})
	}
}

// TestDescribe: every error has an exit code and a next step.
func TestDescribe(t *testing.T) {
	synctargets := workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets").GroupResource()
	for name, tc := range map[string]struct {
		err  error
		code int
		next string
	}{
		"own":          {usage("do this", "wrong"), exitUsage, "do this"},
		"wrapped":      {fmt.Errorf("joining: %w", failed("do that", "wrong")), exitFailed, "do that"},
		"absent API":   {apierrors.NewGenericServerResponse(404, "list", synctargets, "", "", 0, true), exitFailed, "bind the API"},
		"not found":    {apierrors.NewNotFound(synctargets, "edge-1"), exitFailed, "list the SyncTargets"},
		"expired":      {apierrors.NewUnauthorized("token has expired"), exitFailed, "log in again"},
		"forbidden":    {fmt.Errorf("x: %w", apierrors.NewForbidden(schema.GroupResource{}, "x", nil)), exitFailed, "ask an administrator"},
		"conflict":     {apierrors.NewConflict(synctargets, "edge-1", nil), exitFailed, "run the command again"},
		"unreachable":  {&url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, exitFailed, "cannot be reached"},
		"unknown CA":   {&url.Error{Op: "Get", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, exitFailed, "certificate does not fit"},
		"anything":     {errors.New("boom"), exitFailed, "-v=6"},
		"deadline":     {context.DeadlineExceeded, exitFailed, "cannot be reached"},
		"wrong cert":   {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, exitFailed, "certificate does not fit"},
		"server error": {apierrors.NewInternalError(errors.New("etcd")), exitFailed, "-v=6"},
	} {
		t.Run(name, func(t *testing.T) {
			if f := describe(tc.err); f.code != tc.code || !strings.Contains(f.next, tc.next) || f.message == "" {
				t.Errorf("code %d, next %q; want %d, %q", f.code, f.next, tc.code, tc.next)
			}
		})
	}
}

func TestAcceptClaims(t *testing.T) {
	sample := bound(t).Spec.PermissionClaims
	for name, tc := range map[string]struct {
		change func(*apisv1alpha2.APIBinding)
		want   []string
	}{
		"all accepted": {func(*apisv1alpha2.APIBinding) {}, nil},
		"rejected": {func(b *apisv1alpha2.APIBinding) {
			b.Spec.PermissionClaims[2].State = apisv1alpha2.ClaimRejected
		}, []string{"secrets"}},
		"other verbs": {func(b *apisv1alpha2.APIBinding) { b.Spec.PermissionClaims[3].Verbs = []string{"*"} }, []string{"clusterroles.rbac.authorization.k8s.io"}},
		"missing":     {func(b *apisv1alpha2.APIBinding) { b.Spec.PermissionClaims = b.Spec.PermissionClaims[1:] }, []string{"namespaces"}},
		"more verbs": {func(b *apisv1alpha2.APIBinding) {
			b.Spec.PermissionClaims[0].Verbs = append(b.Spec.PermissionClaims[0].Verbs, "update")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			binding := bound(t)
			tc.change(binding)
			if diff := cmp.Diff(tc.want, acceptClaims(binding, sample)); diff != "" {
				t.Errorf("not accepted before (-want +got):\n%s", diff)
			}
			if again := acceptClaims(binding, sample); again != nil {
				t.Errorf("not accepted after: %q", again)
			}
		})
	}
}

// TestNextFor: each reason that keeps a SyncTarget from being Ready has a next step of its own, or the general one.
func TestNextFor(t *testing.T) {
	target := withConditions(newTarget("edge-1"))
	for reason, want := range map[string]string{
		"AwaitingInstall": "manifests edge-1", "ValidationFailed": "join edge-1", "ClusterUnreachable": "--from-context", "ScaledToZero": "replicas",
		"Unhealthy": "logs deployment/syncer", "RollingOut": "status edge-1 --watch",
	} {
		if got := nextFor(target, condition("Deployed", "False", reason, "x")); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", reason, got, want)
		}
	}
}

// TestLoopbackAddress: the flag that the error names is the one that helps; --server is kubectl's own, for the workspace.
func TestLoopbackAddress(t *testing.T) {
	for _, config := range []*rest.Config{{Host: "https://127.0.0.1:6443"}, {Host: "http://kind"}, {Host: "https://kind", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}} {
		_, err := endpointOf(config, "", nil)
		var f *failure
		if !errors.As(err, &f) || f.code != exitUsage || !strings.Contains(f.next, "--server-address=https://") {
			t.Errorf("%s: %+v", config.Host, err)
		}
	}
	if _, err := endpointOf(&rest.Config{Host: "https://127.0.0.1:6443"}, "https://10.0.0.1:6443", nil); err != nil {
		t.Error(err)
	}
}

// TestPrintableSecret: what kubectl apply has noted of a Secret repeats its data.
func TestPrintableSecret(t *testing.T) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "c2VjcmV0", "team": "a"}},
		Data:       map[string][]byte{"kubeconfig": []byte("secret")},
	}
	w := &writer{connection: &connection{Client: newWorld(t).workspace.raw}, written: []client.Object{secret}}
	shown, err := w.printable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(shown)
	if err != nil || strings.Contains(string(text), "c2VjcmV0") || !strings.Contains(string(text), "REDACTED") || !strings.Contains(string(text), "team") {
		t.Errorf("%v\n%s", err, text)
	}
}
