package synctarget

import (
	"context"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
)

// TestForeignName: by the rules of kcp, a ServiceAccount has another name outside its own workspace.
func TestForeignName(t *testing.T) {
	const account = "system:serviceaccount:synctarget-system:synctarget-controller"
	tests := map[string]struct {
		reason   string
		username string
		clusters []string
		want     string
	}{
		"ServiceAccount":            {"", account, []string{"1ywgnorw78sko0v1"}, "system:kcp:serviceaccount:1ywgnorw78sko0v1:synctarget-system:synctarget-controller"},
		"of no workspace":           {"kcp gives it no other name.", account, nil, account},
		"user of a certificate":     {"It is the same everywhere.", "synctarget", nil, "synctarget"},
		"user with a home":          {"Only ServiceAccounts are renamed.", "synctarget", []string{"1ywgnorw78sko0v1"}, "synctarget"},
		"ServiceAccount everywhere": {"It is that of an external issuer.", "oidc:" + account, []string{"1ywgnorw78sko0v1"}, "oidc:" + account},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			info := authenticationv1.UserInfo{Username: tc.username, Extra: map[string]authenticationv1.ExtraValue{"authentication.kcp.io/cluster-name": tc.clusters}}
			if got := crossClusterUsername(info); got != tc.want {
				t.Errorf("%s\ncrossClusterUsername() = %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestSelf(t *testing.T) {
	asked, failure := 0, errInjected
	s := &controllerIdentity{config: &rest.Config{Host: "https://kcp.example.com/prefix/clusters/root:synctarget", BearerToken: canary}, review: func(context.Context, *rest.Config) (authenticationv1.UserInfo, error) {
		asked++
		return authenticationv1.UserInfo{Username: "synctarget"}, failure
	}}
	if _, err := s.user(t.Context()); err == nil {
		t.Error("user() = nil where kcp does not answer")
	}
	failure = nil
	for range 2 {
		if name, err := s.user(t.Context()); name != "synctarget" || err != nil {
			t.Errorf("user() = %q, %v", name, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want once without and once with an answer", asked)
	}
	if there := s.in(testCluster); there.Host != "https://kcp.example.com/prefix/clusters/"+testCluster || there.BearerToken != canary {
		t.Errorf("in() leads to %q", there.Host)
	}
	if s.config.Host != "https://kcp.example.com/prefix/clusters/root:synctarget" {
		t.Errorf("the service's own config leads to %q", s.config.Host)
	}
}
