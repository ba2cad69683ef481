package synctarget

import (
	"testing"
	"time"

	"github.com/synctarget/synctarget/pkg/agent"
)

// TestDecideInstall is every rule about who gets the settings of the controller, and when.
func TestDecideInstall(t *testing.T) {
	v1 := agent.Settings{Image: "v1", KcpURL: "https://kcp", Template: "t1", Spec: "s1"}
	with := func(change func(*agent.Settings)) agent.Settings {
		settings := v1
		change(&settings)
		return settings
	}
	v2 := with(func(s *agent.Settings) { s.Image = "v2" })
	release2 := with(func(s *agent.Settings) { s.Image, s.Template = "v2", "t2" })
	own := with(func(s *agent.Settings) { s.Image = "" })
	tests := map[string]struct {
		reason    string
		installed *agent.Settings
		wanted    agent.Settings
		change    func(*installFacts)
		want      installAction
	}{
		"first installation":                   {"", nil, v1, nil, installWanted},
		"unchanged":                            {"", &v1, v1, nil, installUnchanged},
		"unchanged, its turn":                  {"", &v1, v1, func(f *installFacts) { f.granted = true }, installUnchanged},
		"changed by its user":                  {"", &v1, with(func(s *agent.Settings) { s.Spec = "s2" }), nil, installUnchanged},
		"another image":                        {"It waits for its turn.", &v1, v2, nil, keepSettings},
		"another URL":                          {"", &v1, with(func(s *agent.Settings) { s.KcpURL = "https://other" }), nil, keepSettings},
		"another interval":                     {"", &v1, with(func(s *agent.Settings) { s.HeartbeatInterval = time.Minute }), nil, keepSettings},
		"its turn":                             {"", &v1, v2, func(f *installFacts) { f.granted = true }, installInRollout},
		"not Ready":                            {"It may be cured.", &v1, v2, func(f *installFacts) { f.mayBeReady = false }, installWanted},
		"own image set":                        {"", &v1, own, nil, installWanted},
		"own image removed":                    {"", &own, v2, nil, installWanted},
		"own image, another URL":               {"", &own, with(func(s *agent.Settings) { s.Image, s.KcpURL = "", "https://other" }), nil, keepSettings},
		"changed by its user, too":             {"The change is made with the image of before.", &v1, with(func(s *agent.Settings) { s.Image, s.Spec = "v2", "s2" }), nil, keepSettings},
		"another release":                      {"The Pods of that one cannot be made any more.", &v1, release2, nil, keepSyncer},
		"another release, its turn":            {"", &v1, release2, func(f *installFacts) { f.granted = true }, installInRollout},
		"another release, changed by its user": {"", &v1, with(func(s *agent.Settings) { s.Image, s.Template, s.Spec = "v2", "t2", "s2" }), nil, installWanted},
		"no settings recorded":                 {"", &agent.Settings{}, v1, nil, keepSyncer},
		"no settings recorded, its turn":       {"", &agent.Settings{}, v1, func(f *installFacts) { f.granted = true }, installInRollout},
		"no settings recorded, own image":      {"", &agent.Settings{}, own, func(f *installFacts) { f.ownImage = "running" }, keepSyncer},
		"no settings recorded, own image set":  {"Its user has changed it since.", &agent.Settings{}, own, func(f *installFacts) { f.ownImage = "other" }, installWanted},
		"no settings recorded, not Deployed":   {"What its user has changed may mend it.", &agent.Settings{}, v1, func(f *installFacts) { f.isDeployed = false }, installWanted},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			facts := installFacts{wanted: tc.wanted, mayBeReady: true, isDeployed: true}
			if tc.installed != nil {
				facts.installed = &agent.Installed{Settings: *tc.installed, ContainerImage: "running"}
			}
			if tc.change != nil {
				tc.change(&facts)
			}
			if got := decideInstall(facts); got != tc.want {
				t.Errorf("%s\ndecideInstall() = %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
}
