package discovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// maxDocument is the size of the largest document that is kept. A larger one is transferred every time.
const maxDocument = 8 << 20

// documentCache is a transport that keeps the discovery documents of a server. If a document has an ETag, the server is
// asked only whether it has changed, and the client is answered from memory if it has not. Of a document without an
// ETag a digest is kept, which tells whether it has changed.
//
// Kubernetes sends an ETag for /api and /apis, and none for /openapi/v3. With kcp it is the other way round.
type documentCache struct {
	next  http.RoundTripper
	clock clock.PassiveClock
	// urls are those of the documents to keep. There are three, so the cache needs no other bound.
	urls []string

	mu        sync.Mutex
	documents map[string]document
}

// document is an answer of the server, and the Accept header that it was given for.
type document struct {
	accept, etag string
	digest       [sha256.Size]byte
	// header and body are kept if there is an ETag.
	header http.Header
	body   []byte
	// modifiedAt is when the server last sent another digest.
	modifiedAt time.Time
}

func newDocumentCache(next http.RoundTripper, clock clock.PassiveClock, urls ...string) *documentCache {
	return &documentCache{next: next, clock: clock, urls: urls, documents: map[string]document{}}
}

// RoundTrip implements http.RoundTripper.
func (c *documentCache) RoundTrip(request *http.Request) (*http.Response, error) {
	url := documentURL(request)
	if request.Method != http.MethodGet || !slices.Contains(c.urls, url) {
		return c.next.RoundTrip(request)
	}
	known, ok := c.document(url)
	isKnown := ok && known.etag != "" && known.accept == request.Header.Get("Accept")
	if isKnown {
		request = request.Clone(request.Context())
		request.Header.Set("If-None-Match", known.etag)
	}
	response, err := c.next.RoundTrip(request)
	switch {
	case err != nil:
		return nil, err
	case isKnown && response.StatusCode == http.StatusNotModified:
		closeBody(response)
		return known.response(request), nil
	case response.StatusCode == http.StatusOK:
		return c.keep(url, request, response)
	}
	return response, nil
}

// documentURL is the URL of a request without the timeout that client-go adds.
func documentURL(request *http.Request) string {
	url := *request.URL
	query := url.Query()
	query.Del("timeout")
	url.RawQuery = query.Encode()
	return url.String()
}

// keep adds the document that the server has sent to the cache, and removes an earlier version that it replaces.
func (c *documentCache) keep(url string, request *http.Request, response *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		_ = response.Body.Close()
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if len(body) > maxDocument {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.documents, url)
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), response.Body), response.Body}
		return response, nil
	}
	_ = response.Body.Close()
	sent := document{
		accept: request.Header.Get("Accept"), etag: response.Header.Get("ETag"), digest: sha256.Sum256(body),
		header: response.Header, body: body, modifiedAt: c.clock.Now(),
	}
	c.add(url, sent)
	return sent.response(request), nil
}

// add puts a document in the place of its earlier version.
func (c *documentCache) add(url string, d document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.documents[url]; ok && before.digest == d.digest {
		d.modifiedAt = before.modifiedAt
	}
	if d.etag == "" {
		d.header, d.body = nil, nil
	}
	c.documents[url] = d
}

// document returns the kept version of a document.
func (c *documentCache) document(url string) (document, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.documents[url]
	return d, ok
}

// isUnchanged asks the server whether a document is still what it was. A new version replaces the kept one.
func (c *documentCache) isUnchanged(ctx context.Context, url string) bool {
	before, ok := c.document(url)
	if !ok {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	request.Header.Set("Accept", before.accept)
	response, err := c.RoundTrip(request)
	if err != nil {
		return false
	}
	closeBody(response)
	after, ok := c.document(url)
	return response.StatusCode == http.StatusOK && ok && after.digest == before.digest
}

// response answers a request with the document.
func (d document) response(request *http.Request) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: d.header.Clone(), Body: io.NopCloser(bytes.NewReader(d.body)), ContentLength: int64(len(d.body)), Request: request,
	}
}

// closeBody reads what is left of a small body, so that the connection can be used again, and closes it.
func closeBody(response *http.Response) {
	const small = 64 << 10
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, small))
	_ = response.Body.Close()
}
