package main

import (
	"fmt"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	mcmanager "sigs.k8s.io/multicluster-runtime/pkg/manager"
)

const (
	// readHeaderTimeout and idleTimeout keep a client from holding a connection for ever.
	readHeaderTimeout = 32 * time.Second
	idleTimeout       = 90 * time.Second
)

// addProbes serves /healthz and /readyz at the address; "0" or empty for not at all. A standby serves them too.
func addProbes(mgr mcmanager.Manager, address string, watches healthz.Checker, details func() []string) error {
	if address == "0" || address == "" {
		return nil
	}
	err := mgr.GetLocalManager().Add(&manager.Server{Name: "health probe", Server: &http.Server{
		Addr: address, Handler: newProbes(watches, details), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
	}})
	if err != nil {
		return fmt.Errorf("adding the probes: %w", err)
	}
	return nil
}

// newProbes handles /healthz and /readyz. Live means that the process serves and that its watches on kcp do. Ready means that the process serves; how many logical clusters is a metric, and a
// standby serves none. /readyz?verbose also prints the details, which never make the process not ready: a fault
// between kcp and the syncers is not mended by a restart.
func newProbes(watches healthz.Checker, details func() []string) http.Handler {
	healthy := http.StripPrefix("/healthz", &healthz.Handler{Checks: map[string]healthz.Checker{"ping": healthz.Ping, "watches": watches}})
	ready := http.StripPrefix("/readyz", &healthz.Handler{Checks: map[string]healthz.Checker{"ping": healthz.Ping}})
	mux := http.NewServeMux()
	mux.Handle("/healthz", healthy)
	mux.Handle("/healthz/", healthy)
	mux.Handle("/readyz/", ready)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, req *http.Request) {
		ready.ServeHTTP(w, req)
		if req.URL.Query().Has("verbose") {
			for _, detail := range details() {
				_, _ = fmt.Fprintln(w, detail) // a client that has left needs no answer
			}
		}
	})
	return mux
}
