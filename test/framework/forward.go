package framework

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// PodGet sends an HTTPS GET request to a port of a Pod, through the API server of a cluster as its administrator, and returns
// the answer. The bearer token, if any, reaches the Pod, which it does not by the API server's proxy. The Pod's certificate
// is not verified.
func (e *Environment) PodGet(ctx context.Context, cluster, namespace, pod string, port int, path, token string) (code int, body []byte, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", e.ClusterKubeconfig(cluster))
	if err != nil {
		return 0, nil, err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, nil, err
	}
	roundTripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return 0, nil, err
	}
	url := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, url)

	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return 0, nil, err
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	defer close(stop)
	select {
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	case err := <-ended:
		return 0, nil, fmt.Errorf("forwarding a port to Pod %s/%s: %w", namespace, pod, err)
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return 0, nil, err
	}
	return getInsecurely(ctx, fmt.Sprintf("https://127.0.0.1:%d%s", ports[0].Local, path), token)
}

func getInsecurely(ctx context.Context, url, token string) (code int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a self-signed certificate, read in tests
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}
