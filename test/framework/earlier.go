package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Earlier is an earlier release of this repository, built from its commit.
type Earlier struct {
	// Repo is its source.
	Repo string
	// Controller is the path of its controller.
	Controller string
	// SyncerImage is the image of its syncer, which is on the nodes.
	SyncerImage string
}

// ErrNoHistory says that a commit is not in this checkout, as in one without its history.
var ErrNoHistory = errors.New("this checkout does not contain the commit of the release; clone it with its history")

// BuildEarlier builds the controller and the syncer of a commit below the state directory, and brings the syncer's image to the nodes.
// The error is ErrNoHistory if the commit is not there.
func (e *Environment) BuildEarlier(ctx context.Context, commit string) (*Earlier, error) {
	if err := exec.CommandContext(ctx, "git", "-C", e.Repo, "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoHistory, commit)
	}
	r := &Earlier{Repo: e.path("releases", commit)}
	if err := os.MkdirAll(r.Repo, 0o755); err != nil {
		return nil, err
	}
	archive := r.Repo + ".tar"
	defer os.Remove(archive)
	err := runAll(ctx,
		[]string{"git", "-C", e.Repo, "archive", "--output=" + archive, commit, "go.mod", "go.sum", "cmd", "pkg", "config"},
		[]string{"tar", "-xf", archive, "-C", r.Repo},
	)
	if err != nil {
		return nil, err
	}
	e.building.Lock()
	defer e.building.Unlock()
	if r.Controller, err = buildProgram(ctx, r.Repo, "./cmd/synctarget-controller", filepath.Join(r.Repo, "bin")); err != nil {
		return nil, err
	}
	syncer, err := buildProgram(ctx, r.Repo, "./cmd/syncer", filepath.Join(r.Repo, "bin"))
	if err != nil {
		return nil, err
	}
	if r.SyncerImage, err = syncerImageRef(syncer); err != nil {
		return nil, err
	}
	archive, err = e.BuildImage(ctx, r.SyncerImage, syncer)
	if err != nil {
		return nil, err
	}
	return r, e.Import(ctx, archive)
}
