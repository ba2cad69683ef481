package framework

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 987654 1000 100 18446744073709551615"
	tests := map[string]struct {
		reason, line string
		want         stat
	}{
		"plain":    {"the usual case", "7 (kcp) S" + rest, stat{'S', 12, 987654}},
		"odd name": {"a command's name may hold blanks and parentheses", "7 (a) b (c) R" + rest, stat{'R', 12, 987654}},
		"zombie":   {"the state comes first after the name", "7 (kcp) Z" + rest, stat{'Z', 12, 987654}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tc.line))
			require.NoError(t, err)
			require.Equal(t, tc.want, got, tc.reason)
		})
	}
	_, err := parseStat([]byte("7 (kcp) S 1 2"))
	require.Error(t, err)
}

func TestIdentityIsNotFooledByAReusedPID(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	id, err := identify(cmd.Process.Pid)
	require.NoError(t, err)
	require.True(t, id.alive())

	later, otherBoot := id, id
	later.StartTime++
	otherBoot.BootID = "another"
	require.False(t, later.alive(), "same pid, started later")
	require.False(t, otherBoot.alive(), "same pid, before a reboot")

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.False(t, id.alive())
}
