package ratelimit

import (
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// NewClients returns two clients of one server, which share its rate limit: one for whole objects, and one for their
// metadata.
func NewClients(config *rest.Config) (dynamic.Interface, metadata.Interface, error) {
	config = WithoutRetries(config)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	partial, err := metadata.NewForConfig(config)
	return objects, partial, err
}
