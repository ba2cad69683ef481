package reach

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	gone := httptest.NewTLSServer(http.NotFoundHandler())
	gone.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, tc := range map[string]struct {
		url  string
		ca   []byte
		want string
	}{
		"a refusal is an answer": {server.URL + "/clusters/root", ca, ""},
		"another certificate":    {server.URL, nil, "certificate"},
		"nobody there":           {gone.URL, ca, "refused"},
		"no URL":                 {"://", ca, "reading the URL"},
		"no bundle":              {server.URL, []byte("x"), "reading the CA bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(t.Context(), tc.url, tc.ca)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
