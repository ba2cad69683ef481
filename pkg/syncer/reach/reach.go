// Package reach tells whether kcp can be reached, for a check from inside the physical cluster.
package reach

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// timeout bounds one try.
const timeout = 15 * time.Second

// Check returns nil if an HTTPS server answers at the URL, whatever it answers, with a certificate that the PEM bundle verifies;
// without a bundle, the system's roots do. The proxy settings of the environment count, as for the syncer.
func Check(ctx context.Context, url string, ca []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	if err != nil {
		return fmt.Errorf("reading the CA bundle: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/version", nil)
	if err != nil {
		return fmt.Errorf("reading the URL: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
