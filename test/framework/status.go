package framework

import "context"

// Status of a process.
type Status struct {
	Name string
	// State is "ready", "not ready" or "dead".
	State string
	PID   int
	Log   string
}

// Status says how every process is that was started since the last Down, the first started first.
func (e *Environment) Status(ctx context.Context) ([]Status, error) {
	all, err := e.records()
	if err != nil {
		return nil, err
	}
	var found []Status
	for _, r := range all {
		s := Status{Name: r.Process.Name, State: "ready", PID: r.Identity.PID, Log: e.LogPath(r.Process.Name)}
		switch {
		case !r.Identity.alive():
			s.State = "dead"
		case probe(ctx, r.Process.Ready) != nil:
			s.State = "not ready"
		}
		found = append(found, s)
	}
	return found, nil
}
