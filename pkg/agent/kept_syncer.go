package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// A syncer that waits for its turn in a rollout may have been installed by another release, whose Deployment and Secret this release
// cannot make. They stay as they are. The token is no setting of a release: without a token that kcp accepts, the syncer is cut off.

// applyAroundSyncer applies what Downstream returns, except for the Deployment and the Secret with the credentials, and then the token.
func applyAroundSyncer(ctx context.Context, c client.Client, cfg Config, owner string) (changed int, err error) {
	others := slices.DeleteFunc(Downstream(cfg), func(object client.Object) bool {
		switch object.(type) {
		case *appsv1.Deployment:
			return true
		case *corev1.Secret:
			return object.GetName() == credentialsName
		}
		return false
	})
	if changed, err = Apply(ctx, c, others, owner); err != nil {
		return changed, err
	}
	wrote, err := applyToken(ctx, c, cfg, owner)
	return changed + wrote, err
}

// applyToken writes the token into the Secret, if another one is there. A Secret that is not as an installation left it, such as a
// missing one, is applied.
func applyToken(ctx context.Context, c client.Client, cfg Config, owner string) (changed int, err error) {
	desired := cfg.credentials()
	live, err := get(ctx, c, desired)
	if err != nil {
		return 0, err
	}
	if !cfg.hasInstalled(live) {
		return Apply(ctx, c, []client.Object{desired}, owner)
	}
	token := base64.StdEncoding.EncodeToString(cfg.Token)
	if found, _, _ := unstructured.NestedString(live.Object, "data", tokenField); found == token {
		return 0, nil
	}
	if err := mergeInto(ctx, c, live, owner, map[string]any{"data": map[string]any{tokenField: token}}); err != nil {
		return 0, fmt.Errorf("writing the syncer's token to %s: %w", describe(live), withhold(err, desired))
	}
	wrote, err := cfg.replacePods(ctx, c, owner)
	return 1 + wrote, err
}

// replacePods has the Deployment replace its Pods, so that they get a new token at once. Should it fail, they get it from kubelet.
func (c *Config) replacePods(ctx context.Context, cl client.Client, owner string) (changed int, err error) {
	live, err := get(ctx, cl, reference(appsv1.SchemeGroupVersion.WithKind("Deployment"), c.namespace(), DeploymentName))
	if err != nil || !c.hasInstalled(live) {
		return 0, err
	}
	annotations := map[string]any{credentialsHashAnnotation: c.credentialsHash()}
	template := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if err := mergeInto(ctx, cl, live, owner, map[string]any{"spec": map[string]any{"template": template}}); err != nil {
		return 0, fmt.Errorf("replacing the Pods of %s: %w", describe(live), err)
	}
	return 1, nil
}

// hasInstalled tells whether a live object was installed for this SyncTarget and is not being deleted.
func (c *Config) hasInstalled(live *unstructured.Unstructured) bool {
	return live != nil && live.GetDeletionTimestamp() == nil &&
		live.GetLabels()[workloadv1alpha1.LabelKey] == c.key() && live.GetLabels()[workloadv1alpha1.LabelUID] == string(c.Target.UID)
}

// mergeInto changes these fields of a live object. Should it be replaced meanwhile, the server refuses.
func mergeInto(ctx context.Context, c client.Client, live *unstructured.Unstructured, owner string, fields map[string]any) error {
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
	}
	metadata["uid"] = live.GetUID()
	fields["metadata"] = metadata
	patch, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("Patching", "object", describe(live))
	return c.Patch(ctx, live.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(owner))
}
