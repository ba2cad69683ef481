package pcluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// watchTimeout is how long a watch is asked to last; the server is asked for up to twice that.
	watchTimeout = 30 * time.Minute
	// watchGrace is how much longer a watch may last before we end it: no server keeps one for ever.
	watchGrace = time.Minute
	// maxEventBytes bounds one event: an object's metadata, or all of it from a server that ignores what we accept.
	maxEventBytes = 2 << 20
)

// client-go's watch would read an event of any size, so this one is read here.

// object is all that is read of an object.
type object struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// follow looks at the object and then watches it until the watch ends. A nil error is a watch that ended well.
func (w *watcher) follow(ctx context.Context) error {
	from, err := w.look(ctx)
	if err != nil {
		return err
	}
	timeout := watchTimeout + rand.N(watchTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout+watchGrace)
	defer cancel()
	response, err := w.get(ctx, "watch", url.Values{
		"watch": {"true"}, "resourceVersion": {from}, "timeoutSeconds": {strconv.Itoa(int(timeout.Seconds()))},
	})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	w.began = w.cluster.owner.clock.Now()
	w.refused(nil)

	bounded := &io.LimitedReader{R: response.Body}
	events := json.NewDecoder(bounded)
	for {
		var event struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		bounded.N = maxEventBytes
		if err := events.Decode(&event); err != nil {
			return w.broken(ctx, err)
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			w.see(event.Object.Metadata.ResourceVersion)
		case "DELETED":
			w.see("")
		case "ERROR":
			return nil // such as 410: the next look is the remedy
		}
	}
}

// broken says why a watch ended: nil for an end between two events, as servers do, or when we end it ourselves.
func (w *watcher) broken(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return w.cluster.answerFilter.explain(ctx, err)
}

// look lists the object and returns where a watch has to begin.
func (w *watcher) look(ctx context.Context) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	response, err := w.get(bounded, "list", url.Values{})
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var list struct {
		object
		Items []object `json:"items"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil || list.Metadata.ResourceVersion == "" {
		return "", w.cluster.answerFilter.notKubernetes()
	}
	now := ""
	for _, item := range list.Items {
		if item.Metadata.Name == w.object.name {
			now = item.Metadata.ResourceVersion
		}
	}
	w.see(now)
	return list.Metadata.ResourceVersion, nil
}

// get asks for objects of this name, of which there is at most one, and for their metadata alone.
func (w *watcher) get(ctx context.Context, verb string, query url.Values) (*http.Response, error) {
	c := w.cluster
	query.Set("fieldSelector", "metadata.name="+w.object.name)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+w.path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	kind := "PartialObjectMetadataList"
	if verb == "watch" {
		kind = "PartialObjectMetadata"
	}
	r.Header.Set("Accept", "application/json;as="+kind+";g=meta.k8s.io;v=v1,application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.answerFilter.explain(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		asked := request{verb: verb, resource: w.object.resource, namespace: w.object.namespace, name: w.object.name}
		return nil, asked.answered(metav1.Status{Code: int32(response.StatusCode)}, c.answerFilter, nil)
	}
	return response, nil
}
