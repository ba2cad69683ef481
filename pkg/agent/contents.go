package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

const (
	// listers is how many resources are listed at the same time: there may be hundreds, and a pass is short.
	listers = 16
	// pageSize bounds an answer, of either side: of an object only the metadata is asked for, seldom more than 10 KiB.
	pageSize = 100
	// listTime bounds each list: behind some resources stands another server, which may hang.
	listTime = 3 * time.Second
	// maxCopies bounds what is kept of one downstream Namespace. Where there are more the rest has its turn when these are gone.
	maxCopies = 5000
	// maxUnlisted is how many resources are named that may not be listed.
	maxUnlisted = 3
)

// contents is what was seen in a downstream Namespace.
type contents struct {
	copies []*metav1.PartialObjectMetadata
	// more is set if there are copies beyond these.
	more bool
	// foreign is an object of somebody else's, in words; empty for none.
	foreign string
	// unlisted are the resources that may not be listed, of which nobody knows what there is.
	unlisted []string
	// late is why some were not listed in time, and listed are the others.
	late   error
	listed []metav1.APIResource
	// unknown is why this may not be all; nil if it is.
	unknown error
}

// stays says why the Namespace is not ours to remove; empty if it is.
func (c *contents) stays() string {
	switch named := c.unlisted; {
	case c.foreign != "":
		return c.foreign + " in it is not ours. Remove the Namespace by hand when nobody needs it any more"
	case len(named) > 0:
		if more := len(named) - maxUnlisted; more > 0 {
			named = append(slices.Clone(named[:maxUnlisted]), fmt.Sprintf("and %d more", more))
		}
		return fmt.Sprintf("the kubeconfig's user may not list %s, so nobody knows what of others it holds. Remove the Namespace by hand, and grant \"list\" on these for the next time", strings.Join(named, ", "))
	}
	return ""
}

// look lists everything in a downstream Namespace.
func (p DownstreamNamespaces) look(ctx context.Context, namespace string) contents {
	each := make([]contents, len(p.Resources))
	var kept atomic.Int64
	var group errgroup.Group
	group.SetLimit(listers)
	for i, resource := range p.Resources {
		group.Go(func() error {
			each[i] = p.lookAt(ctx, namespace, resource, &kept)
			return nil
		})
	}
	_ = group.Wait()
	all := contents{unknown: p.Unknown}
	for i, c := range each {
		if errors.Is(c.unknown, context.DeadlineExceeded) {
			all.late = errors.Join(all.late, c.unknown)
		} else {
			all.listed = append(all.listed, p.Resources[i])
		}
		all.copies = append(all.copies, c.copies...)
		all.more = all.more || c.more
		all.unlisted = append(all.unlisted, c.unlisted...)
		all.unknown = errors.Join(all.unknown, c.unknown)
		if all.foreign == "" {
			all.foreign = c.foreign
		}
	}
	return all
}

// lookAt lists one resource in a downstream Namespace. One that cannot be listed at all is passed over, as it is when a Namespace is
// deleted.
func (p DownstreamNamespaces) lookAt(ctx context.Context, namespace string, resource metav1.APIResource, kept *atomic.Int64) (c contents) {
	gr := schema.GroupResource{Group: resource.Group, Resource: resource.Name}
	gvk := schema.GroupVersionKind{Group: resource.Group, Version: resource.Version, Kind: resource.Kind}
	list := &metav1.PartialObjectMetadataList{}
	for {
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		err := p.listPage(ctx, list, namespace)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
			return c
		case apierrors.IsForbidden(err):
			c.unlisted = []string{oneLine(p.Clean(gr.String()))}
			return c
		case err != nil:
			c.unknown = fmt.Errorf("listing %s in Namespace %q: %w", gr, namespace, err)
			return c
		}
		for i := range list.Items {
			object := &list.Items[i]
			object.SetGroupVersionKind(gvk)
			switch {
			case naming.IsManaged(object, p.Key):
				if c.more = kept.Add(1) > maxCopies; !c.more {
					c.copies = append(c.copies, lean(object))
				}
			case c.foreign == "" && p.isForeign(object, gr):
				c.foreign = oneLine(p.Clean(fmt.Sprintf("%s %q", gvk.Kind, object.Name)))
			}
		}
		if list.Continue == "" {
			return c
		}
		list = &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{Continue: list.Continue}}
	}
}

func (p DownstreamNamespaces) listPage(ctx context.Context, list *metav1.PartialObjectMetadataList, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	return p.Client.List(ctx, list, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(list.Continue))
}

// lean is what is needed of a copy to delete it, or to take our marks off it. A hostile cluster may put much into the rest.
func lean(object *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: object.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: object.Namespace, Name: object.Name, UID: object.UID, Labels: marksOf(object.Labels), Annotations: marksOf(object.Annotations),
	}}
}

// isForeign tells what somebody has put into a downstream Namespace from what is in every Namespace, and from what the control plane
// makes of other objects there, which keep the Namespace themselves if they are not ours.
func (p DownstreamNamespaces) isForeign(object *metav1.PartialObjectMetadata, resource schema.GroupResource) bool {
	if slices.ContainsFunc(object.OwnerReferences, p.isBeside) || resource.Group == "" && naming.IsClusterDefault(object.Kind, object.Name) {
		return false
	}
	switch resource.String() {
	case "events", "events.events.k8s.io":
		return false
	case "secrets":
		return object.Annotations[corev1.ServiceAccountNameKey] == "" // the token of a ServiceAccount
	case "endpoints":
		// Those of a Service that is a copy inherit its labels. Of a Service that has just gone they last a moment longer.
		return object.Labels[workloadv1alpha1.LabelKey] != p.Key && object.Annotations[corev1.EndpointsLastChangeTriggerTime] == ""
	case "rolebindings.rbac.authorization.k8s.io":
		return !isOfDownstreamNamespace(object) // but ours
	}
	return true
}

// isBeside tells whether an owner may be in the Namespace itself, where it is seen; one of the whole cluster is somebody's.
func (p DownstreamNamespaces) isBeside(owner metav1.OwnerReference) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && slices.ContainsFunc(p.Resources, func(r metav1.APIResource) bool { return r.Group == version.Group && r.Kind == owner.Kind })
}
