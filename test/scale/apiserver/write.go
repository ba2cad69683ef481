package apiserver

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"

	jsonpatch "github.com/evanphx/json-patch/v5"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// maxBody bounds the body of a request, as an API server does.
const maxBody = 3 << 20

// statusField is what a write to the subresource of this name changes, and any other write does not.
const statusField = "status"

func (s *Store) serveWrite(w http.ResponseWriter, r *http.Request, asked Request) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	code, written := http.StatusOK, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Status", "status": metav1.StatusSuccess}}
	switch asked.Verb {
	case "delete":
		err = s.serveDelete(asked, body)
	case "patch":
		written, err = s.servePatch(r, asked, body)
	default:
		var sent *unstructured.Unstructured
		if sent, err = readObject(body); err != nil {
			return err
		}
		if asked.Verb == "create" {
			code = http.StatusCreated
			written, err = s.Create(nameOf(asked.Key, sent), sent)
			break
		}
		written, err = s.Update(asked.Key, func(o *unstructured.Unstructured) error {
			replace(o, sent.Object, asked.Subresource)
			return nil
		})
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(written.Object)
	if err != nil {
		return err
	}
	respond(w, code, data)
	return nil
}

// nameOf is the key of an object that is to be created.
func nameOf(key Key, sent *unstructured.Unstructured) Key {
	key.Name = sent.GetName()
	if key.Name == "" {
		key.Name = sent.GetGenerateName() + rand.String(5)
	}
	return key
}

func (s *Store) serveDelete(asked Request, body []byte) error {
	var options metav1.DeleteOptions
	if len(body) > 0 {
		if _, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(body, nil, &options); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	var uid types.UID
	if options.Preconditions != nil && options.Preconditions.UID != nil {
		uid = *options.Preconditions.UID
	}
	return s.Delete(asked.Key, uid)
}

func (s *Store) servePatch(r *http.Request, asked Request, body []byte) (*unstructured.Unstructured, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	switch types.PatchType(kind) {
	case types.ApplyYAMLPatchType:
		manifest := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(body, &manifest.Object); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if asked.Subresource == "" {
			return s.Apply(asked.Key, manifest)
		}
		return s.patch(asked, func(before map[string]any) error { merge(before, manifest.Object); return nil })
	case types.MergePatchType, types.StrategicMergePatchType:
		patch := map[string]any{}
		if err := json.Unmarshal(body, &patch); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return s.patch(asked, func(before map[string]any) error { merge(before, patch); return nil })
	case types.JSONPatchType:
		return s.patch(asked, func(before map[string]any) error { return patchJSON(before, body) })
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("patches of type %q are not supported", kind))
}

// patch changes a copy of an object and stores what the subresource lets change.
func (s *Store) patch(asked Request, alter func(map[string]any) error) (*unstructured.Unstructured, error) {
	return s.Update(asked.Key, func(o *unstructured.Unstructured) error {
		changed := o.DeepCopy().Object
		if err := alter(changed); err != nil {
			return err
		}
		replace(o, changed, asked.Subresource)
		return nil
	})
}

// replace takes over what a write to the subresource changes, and the metadata that are compared for conflicts.
func replace(o *unstructured.Unstructured, sent map[string]any, subresource string) {
	if subresource != "" {
		before := o.Object
		after := unstructured.Unstructured{Object: sent}
		o.SetResourceVersion(after.GetResourceVersion())
		o.SetUID(after.GetUID())
		before[subresource] = sent[subresource]
		return
	}
	status, hadStatus := o.Object[statusField]
	o.Object = sent
	delete(o.Object, statusField)
	if hadStatus {
		o.Object[statusField] = status
	}
}

func patchJSON(object map[string]any, operations []byte) error {
	patch, err := jsonpatch.DecodePatch(operations)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	before, err := json.Marshal(object)
	if err != nil {
		return err
	}
	after, err := patch.Apply(before)
	if err != nil {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: err.Error(),
		}}
	}
	clear(object)
	return json.Unmarshal(after, &object)
}

// readObject reads a body in JSON, or in protobuf, which clients send of what is built in.
func readObject(body []byte) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if json.Unmarshal(body, &o.Object) == nil {
		return o, nil
	}
	typed, kind, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if o.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(typed); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	o.SetGroupVersionKind(*kind)
	return o, nil
}
