package kcpprovider

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
)

const (
	// retryBase is the first pause of every retry; each one after it is twice as long.
	retryBase = time.Second
	// engageRetryMax is the longest pause before a logical cluster that could not be engaged is tried again.
	engageRetryMax = time.Minute
)

// retry calls f again, after one that failed, until it succeeds or ctx ends. The pause before each call is twice as long as
// the one before, up to a limit.
func retry(ctx context.Context, c clock.Clock, limit time.Duration, f func() error) {
	backoff := wait.Backoff{Duration: retryBase, Factor: 2, Jitter: 0.2, Steps: 10, Cap: limit}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.After(backoff.Step()):
		}
		if ctx.Err() != nil {
			return // both were ready
		}
		if f() == nil {
			return
		}
	}
}

// retryingAware retries an engagement that fails.
type retryingAware struct {
	aware multicluster.Aware
	log   logr.Logger
	clock clock.Clock
}

// Engage implements multicluster.Aware. It returns no error. ctx ends when the logical cluster is disengaged.
func (r *retryingAware) Engage(ctx context.Context, name multicluster.ClusterName, cl cluster.Cluster) error {
	err := r.aware.Engage(ctx, name, cl)
	if err == nil {
		return nil
	}
	r.log.Info("Retrying to engage a logical cluster", "clusterName", name, "reason", err.Error())
	go retry(ctx, r.clock, engageRetryMax, func() error {
		err := r.aware.Engage(ctx, name, cl)
		if err == nil {
			r.log.Info("Engaged a logical cluster", "clusterName", name)
		}
		return err
	})
	return nil
}
