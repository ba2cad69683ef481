package framework

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDefaultDirOfALongCheckout(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	short := filepath.Join("/tmp", "checkout", ".local")
	got, err := defaultDir(short)
	require.NoError(t, err)
	require.Equal(t, short, got)

	long := filepath.Join(t.TempDir(), strings.Repeat("x", longestStateDir))
	for range 2 { // the second time it is there
		got, err = defaultDir(long)
		require.NoError(t, err)
		require.LessOrEqual(t, len(got), longestStateDir)
		target, err := os.Readlink(long)
		require.NoError(t, err)
		require.Equal(t, got, target)
	}
	require.NoError(t, os.RemoveAll(got))
}
