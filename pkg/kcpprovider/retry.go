package kcpprovider

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
)

// patientAware retries an engagement that fails, instead of losing the logical cluster.
type patientAware struct {
	aware multicluster.Aware
	log   logr.Logger
	clock clock.Clock
}

// Engage implements multicluster.Aware. ctx ends when the logical cluster leaves.
func (p *patientAware) Engage(ctx context.Context, name multicluster.ClusterName, cl cluster.Cluster) error {
	err := p.aware.Engage(ctx, name, cl)
	if err == nil {
		return nil
	}
	p.log.Info("Retrying to engage a logical cluster", "clusterName", name, "reason", err.Error())
	go func() {
		backoff := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 6, Cap: time.Minute}
		for err != nil {
			select {
			case <-ctx.Done():
				return
			case <-p.clock.After(backoff.Step()):
				err = p.aware.Engage(ctx, name, cl)
			}
		}
		p.log.Info("Engaged a logical cluster", "clusterName", name)
	}()
	return nil
}

// endpoints are those of one run of the provider.
type endpoints struct {
	ask   func(ctx context.Context, url string) error
	stop  context.CancelCauseFunc
	clock clock.Clock
	log   logr.Logger
	// answered tells of each endpoint that was ever listed whether it has answered; if not, it is being asked again.
	answered map[string]bool
}

// answering returns the endpoints that have answered in this run. One that did and does not now stays: its watches
// find their way back by themselves. One that never did is asked again until it does, and then the provider is run
// anew, for it would not look again by itself. The provider makes one call at a time.
func (e *endpoints) answering(ctx context.Context, urls []string) []string {
	var answering []string
	for _, url := range urls {
		answered, known := e.answered[url]
		if !known {
			err := e.ask(ctx, url)
			answered = err == nil
			e.answered[url] = answered
			if !answered {
				e.log.Info("Waiting for an endpoint of the virtual workspace", "url", url, "reason", err.Error())
				go e.await(ctx, url)
			}
		}
		if answered {
			answering = append(answering, url)
		}
	}
	e.log.Info("Serving endpoints of the virtual workspace", "answering", len(answering), "listed", len(urls))
	return answering
}

// await ends the run when the endpoint answers.
func (e *endpoints) await(ctx context.Context, url string) {
	backoff := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 6, Cap: 30 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.clock.After(backoff.Step()):
		}
		if e.ask(ctx, url) == nil {
			e.stop(fmt.Errorf("the endpoint %s answers now", url))
			return
		}
	}
}

// askTimeout bounds one look at an endpoint.
const askTimeout = 5 * time.Second

// ask makes the discovery request that watching the endpoint begins with.
func (s *Supervisor) ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	httpClient, err := rest.HTTPClientFor(s.config)
	if err != nil {
		return fmt.Errorf("making a client for %s: %w", url, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/clusters/*/apis", http.NoBody)
	if err != nil {
		return fmt.Errorf("making a request to %s: %w", url, err)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s: %s", url, response.Status)
	}
	return nil
}
