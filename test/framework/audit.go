package framework

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// auditLogSize keeps what is read here in one file.
const auditLogSize = "--audit-log-maxsize=4096" // MiB

// Request is a request as an audit log has it.
type Request struct {
	Time time.Time
	// User who asked. What comes through a kcp virtual workspace is logged once, under the user who asked there.
	User string
	Verb string
	// Resource is "<plural>" or "<plural>.<group>", with "/<subresource>" if there is one; the path where the request is about none.
	Resource  string
	Namespace string
	Name      string
	// Cluster is the logical cluster's name in kcp, empty elsewhere.
	Cluster   string
	UserAgent string
	// Code is the HTTP status of the answer.
	Code int
	// DryRun tells that nothing was to be changed.
	DryRun bool
}

// IsWrite tells whether a request may have changed something.
func (r Request) IsWrite() bool {
	return !r.DryRun && !slices.Contains([]string{"get", "list", "watch"}, r.Verb)
}

// Writes reads from the audit log of "kcp" or of a cluster what may have changed something, from a moment on. Requests of the
// systems' own components and dry runs are not in it, failed requests are.
func (e *Environment) Writes(name string, since time.Time) ([]Request, error) {
	return e.WritesBy(name, "", since)
}

// WritesBy is Writes of one user, quick enough on a long log to be asked again and again; of all if user is empty.
func (e *Environment) WritesBy(name, user string, since time.Time) ([]Request, error) {
	all, err := e.RequestsBy(name, user, since)
	return slices.DeleteFunc(all, func(r Request) bool { return !r.IsWrite() }), err
}

// RequestsBy reads the audit log of "kcp" or of a cluster from a moment on: all that one ServiceAccount has asked for, reads, dry
// runs, discovery and failed requests included. A watch is in it when it has ended. Reads of other users are not logged.
func (e *Environment) RequestsBy(name, user string, since time.Time) ([]Request, error) {
	f, err := os.Open(e.AuditLogPath(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []Request
	var torn error // the last line may be under way
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if torn != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Name(), torn)
		}
		if !bytes.Contains(lines.Bytes(), []byte(user)) {
			continue
		}
		r, err := parseRequest(lines.Bytes())
		if err != nil {
			torn = err
			continue
		}
		if !r.Time.Before(since) && (user == "" || r.User == user) {
			found = append(found, r)
		}
	}
	return found, lines.Err()
}

// parseRequest reads one audit.k8s.io/v1 Event.
func parseRequest(line []byte) (Request, error) {
	type user struct {
		Username string `json:"username"`
	}
	var event struct {
		Verb                     string            `json:"verb"`
		RequestURI               string            `json:"requestURI"`
		User                     user              `json:"user"`
		ImpersonatedUser         *user             `json:"impersonatedUser"`
		UserAgent                string            `json:"userAgent"`
		Annotations              map[string]string `json:"annotations"`
		RequestReceivedTimestamp time.Time         `json:"requestReceivedTimestamp"`
		ObjectRef                struct {
			Resource    string `json:"resource"`
			APIGroup    string `json:"apiGroup"`
			Subresource string `json:"subresource"`
			Namespace   string `json:"namespace"`
			Name        string `json:"name"`
		} `json:"objectRef"`
		ResponseStatus struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return Request{}, err
	}
	r := Request{
		Time: event.RequestReceivedTimestamp, User: event.User.Username, Verb: event.Verb,
		Resource: event.ObjectRef.Resource, Namespace: event.ObjectRef.Namespace, Name: event.ObjectRef.Name,
		Cluster: event.Annotations["kcp.io/cluster"], UserAgent: event.UserAgent, Code: event.ResponseStatus.Code,
		DryRun: strings.Contains(event.RequestURI, "dryRun="),
	}
	if event.ImpersonatedUser != nil {
		r.User = event.ImpersonatedUser.Username
	}
	if event.ObjectRef.APIGroup != "" {
		r.Resource += "." + event.ObjectRef.APIGroup
	}
	if event.ObjectRef.Subresource != "" {
		r.Resource += "/" + event.ObjectRef.Subresource
	}
	if event.ObjectRef.Resource == "" {
		r.Resource, _, _ = strings.Cut(event.RequestURI, "?")
	}
	return r, nil
}
