package main

import (
	"context"
	"net/url"

	"k8s.io/client-go/rest"
	clientmetrics "k8s.io/client-go/tools/metrics"
)

// namelessHosts counts requests like the metric before it, but names only the hosts that it knows: those of physical
// clusters are the tenants', without number, and nobody else's business.
type namelessHosts struct {
	clientmetrics.ResultMetric
	known map[string]bool
}

// Increment implements clientmetrics.ResultMetric.
func (n *namelessHosts) Increment(ctx context.Context, code, method, host string) {
	if !n.known[host] {
		host = "other"
	}
	n.ResultMetric.Increment(ctx, code, method, host)
}

// hideHosts keeps every host out of the metrics but those that these configs lead to; a nil config leads nowhere.
func hideHosts(configs ...*rest.Config) {
	known := map[string]bool{}
	for _, config := range configs {
		if config == nil {
			continue
		}
		if server, err := url.Parse(config.Host); err == nil {
			known[server.Host] = true
		}
	}
	clientmetrics.RequestResult = &namelessHosts{ResultMetric: clientmetrics.RequestResult, known: known}
}
