package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Request is what a client asks for.
type Request struct {
	Key
	// Verb is as in an audit log: get, list, watch, create, update, patch or delete.
	Verb        string
	Subresource string
}

// Parse reads the path and the method of a request for objects, after what stands before /api or /apis.
func Parse(method, path string, isWatch bool) (Request, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var r Request
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		r.Resource.Group, parts = parts[1], parts[3:]
	default:
		return Request{}, false
	}
	if len(parts) >= 3 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		r.Namespace, parts = parts[1], parts[2:]
	}
	r.Resource.Resource = parts[0]
	if len(parts) > 1 {
		r.Name = parts[1]
	}
	if len(parts) > 2 {
		r.Subresource = parts[2]
	}
	switch {
	case method == http.MethodGet && isWatch:
		r.Verb = "watch"
	case method == http.MethodGet && r.Name == "":
		r.Verb = "list"
	default:
		r.Verb = map[string]string{
			http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
		}[method]
	}
	return r, r.Verb != ""
}

// Serve answers a request for the objects of a Store.
func (s *Store) Serve(w http.ResponseWriter, r *http.Request, asked Request) {
	var err error
	switch asked.Verb {
	case "get":
		var found *object
		if found, err = s.read(asked.Key); err == nil {
			respond(w, http.StatusOK, found.as(metadataOnly(r)))
		}
	case "list", "watch":
		err = s.serveMany(w, r, asked)
	default:
		err = s.serveWrite(w, r, asked)
	}
	if err != nil {
		refuse(w, err)
	}
}

func refuse(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewBadRequest(err.Error())
	}
	answer := status.Status()
	answer.Kind, answer.APIVersion = "Status", "v1"
	data, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	respond(w, int(answer.Code), data)
}

func respond(w http.ResponseWriter, code int, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data) // the client has left
}

func metadataOnly(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
}

func (o *object) as(metadataOnly bool) []byte {
	if metadataOnly {
		return o.metadata
	}
	return o.full
}

// scopeOf reads what a list or a watch selects.
func scopeOf(r *http.Request, asked Request) (Scope, error) {
	scope := Scope{Cluster: asked.Cluster, Namespace: asked.Namespace, Name: asked.Name}
	query := r.URL.Query()
	var err error
	if scope.Labels, err = labels.Parse(query.Get("labelSelector")); err != nil {
		return Scope{}, apierrors.NewBadRequest(err.Error())
	}
	selected, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return Scope{}, apierrors.NewBadRequest(err.Error())
	}
	for _, requirement := range selected.Requirements() {
		if requirement.Field != "metadata.name" {
			return Scope{}, apierrors.NewBadRequest("field selector on " + requirement.Field)
		}
		scope.Name = requirement.Value
	}
	return scope, nil
}

func (s *Store) serveMany(w http.ResponseWriter, r *http.Request, asked Request) error {
	scope, err := scopeOf(r, asked)
	if err != nil {
		return err
	}
	if asked.Verb == "watch" {
		return s.serveWatch(w, r, asked, scope)
	}
	objects, revision := s.list(asked.Resource, scope)
	isMetadata := metadataOnly(r)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{")
	if isMetadata {
		_, _ = io.WriteString(w, `"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadataList",`)
	}
	_, _ = fmt.Fprintf(w, `"metadata":{"resourceVersion":"%d"},"items":[`, revision)
	for i, o := range objects {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		_, _ = w.Write(o.as(isMetadata))
	}
	_, _ = io.WriteString(w, "]}")
	return nil
}

func (s *Store) serveWatch(w http.ResponseWriter, r *http.Request, asked Request, scope Scope) error {
	query := r.URL.Query()
	if query.Has("sendInitialEvents") {
		return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil) // the client lists then
	}
	since, err := strconv.ParseInt(query.Get("resourceVersion"), 10, 64)
	if err != nil {
		since = 0
	}
	timeout, err := strconv.Atoi(query.Get("timeoutSeconds"))
	if err != nil {
		timeout = int((30 * time.Minute).Seconds())
	}
	watcher := s.Watch(asked.Resource, scope, since)
	defer watcher.Stop()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	isMetadata := metadataOnly(r)
	end := time.NewTimer(time.Duration(timeout) * time.Second)
	defer end.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-end.C:
			return nil
		case <-watcher.signal:
		}
		for _, c := range watcher.take() {
			_, _ = fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", c.kind, c.object.as(isMetadata))
		}
		if flusher.Flush() != nil {
			return nil // the client has left
		}
	}
}
