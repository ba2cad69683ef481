package synctarget

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

// validate judges everything that needs no physical cluster: the spec, the accepted claims, the Secret and the
// kubeconfig in it. The first fault wins.
func (r *Reconciler) validate(ctx context.Context, s *scope) (facts, verdict, error) {
	missing, err := r.missingClaims(ctx, s)
	found := facts{claimsAccepted: err == nil && len(missing) == 0}
	if err := validateSpec(&s.target.Spec); err != nil {
		found.specInvalid = true
		return found, blocked(workloadv1alpha1.ReasonValidationFailed, "%s", err), nil
	}
	if err != nil {
		return found, verdict{}, err
	}
	if len(missing) > 0 {
		return found, blocked(workloadv1alpha1.ReasonValidationFailed, "%s", claims.Message(r.ExportName, missing)), nil
	}
	valid, err := validVerdict(ctx, s)
	if err != nil {
		return found, valid, err
	}
	if s.pullMode() {
		r.expiries.forget(s.target.UID)
		return found, valid, nil
	}
	secret, kubeconfig, err := readKubeconfig(ctx, s)
	fault := (*secretFault)(nil)
	isFault := errors.As(err, &fault)
	found.kcpResponded = err == nil || isFault || !isTransient(err)
	switch {
	case isFault:
		r.disconnect(s)
		return found, blocked(workloadv1alpha1.ReasonValidationFailed, "%s", fault), nil
	case err != nil:
		return found, verdict{}, err
	}
	found.kubeconfig = kubeconfig
	if valid = r.validateKubeconfig(s, secret, kubeconfig, valid); !valid.ok() {
		return found, valid, nil
	}
	found.pullSecrets, err = agent.ReadPullSecrets(ctx, s.upstream, s.target)
	if fault := (*agent.PullSecretError)(nil); errors.As(err, &fault) {
		return found, blocked(workloadv1alpha1.ReasonValidationFailed, "%s", fault), nil
	}
	return found, valid, err
}

// validateKubeconfig judges the kubeconfig, which the Secret holds. valid is the verdict if there is no fault.
func (r *Reconciler) validateKubeconfig(s *scope, secret *corev1.Secret, kubeconfig []byte, valid verdict) verdict {
	config, err := pcluster.Parse(kubeconfig)
	if err != nil {
		r.disconnect(s)
		ref := s.target.Spec.KubeconfigSecretRef
		return blocked(workloadv1alpha1.ReasonValidationFailed, "Secret %q key %q: %s", ref.Namespace+"/"+ref.Name, secretKey(ref), err)
	}
	if secret.DeletionTimestamp != nil {
		valid = passed(workloadv1alpha1.ReasonSecretTerminating, secretTerminating(secret, workloadv1alpha1.SyncTargetFinalizer(s.key)))
	}
	expiry := expiryOf(config)
	r.expiries.set(s.target.UID, expiry.notice)
	return expiry.addTo(valid, r.Clock.Now())
}

// disconnect drops the physical cluster to which the user's kubeconfig no longer leads: credentials that were withdrawn
// are not used again.
func (r *Reconciler) disconnect(s *scope) {
	r.expiries.forget(s.target.UID)
	r.installCache.forget(s.target.UID)
	r.physical.Forget(s.pclusterID())
}

// validateSpec reports the first fault, in the order that users were promised.
func validateSpec(spec *workloadv1alpha1.SyncTargetSpec) error {
	if spec.Cluster == "" {
		return errors.New("cluster reference is required")
	}
	if len(spec.Cells) == 0 {
		return errors.New("at least one cell must be specified")
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Capacity)) {
		if quantity := spec.Capacity[name]; quantity.Sign() < 0 {
			return fmt.Errorf("capacity for %s cannot be negative", name)
		}
	}
	return nil
}

// secretFault is what a user must mend about the referenced Secret.
type secretFault struct{ message string }

func (e *secretFault) Error() string { return e.message }

func secretKey(ref *workloadv1alpha1.KubeconfigSecretReference) string {
	if ref.Key == "" {
		return workloadv1alpha1.DefaultKubeconfigKey
	}
	return ref.Key
}

// secretTerminating says what the referenced Secret, which is being deleted, waits for. ours is the finalizer of this target.
func secretTerminating(secret *corev1.Secret, ours string) string {
	const wayOut = "let spec.kubeconfigSecretRef refer to another Secret"
	name := secret.Namespace + "/" + secret.Name
	if slices.Contains(secret.Finalizers, ours) {
		return fmt.Sprintf("Secret %q is being deleted, and stays until this SyncTarget no longer needs it to remove the syncer: %s, or delete the SyncTarget", name, wayOut)
	}
	return fmt.Sprintf("Secret %q is being deleted, and stays only as long as the finalizer %q is on it; this SyncTarget needs it to remove the syncer: %s",
		name, strings.Join(secret.Finalizers, ", "), wayOut)
}

// readKubeconfig reads the referenced Secret live, so that no tenant's Secret sits in a cache, and returns the kubeconfig in
// it too.
func readKubeconfig(ctx context.Context, s *scope) (*corev1.Secret, []byte, error) {
	ref := s.target.Spec.KubeconfigSecretRef
	name := ref.Namespace + "/" + ref.Name
	var secret corev1.Secret
	err := s.upstream.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, &secretFault{fmt.Sprintf("Secret %q is not found; create it, with the label %s=true that shows it to this service", name, workloadv1alpha1.LabelVisible)}
	case apierrors.IsForbidden(err):
		return nil, nil, &secretFault{fmt.Sprintf("Secret %q may not be read: %s", name, err)}
	case err != nil:
		return nil, nil, fmt.Errorf("reading Secret %q: %w", name, err)
	}
	kubeconfig, found := secret.Data[secretKey(ref)]
	if !found {
		return nil, nil, &secretFault{fmt.Sprintf("Secret %q has no key %q", name, secretKey(ref))}
	}
	if len(kubeconfig) == 0 {
		return nil, nil, &secretFault{fmt.Sprintf("Secret %q key %q is empty", name, secretKey(ref))}
	}
	return &secret, kubeconfig, nil
}

// secretMeta names the metadata-only view of Secrets, the only one that is cached.
func secretMeta() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return meta
}

// validateFailed is the verdict when kcp kept the phase from its work.
func validateFailed(err error) verdict {
	return failing(workloadv1alpha1.ReasonValidationFailed, err)
}
