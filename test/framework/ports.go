package framework

import (
	"fmt"
	"net"
	"strconv"
)

// freePorts finds n TCP ports that are free on every one of the given addresses, from first upwards. They lie below the
// range that the kernel hands out to outgoing connections (from 32768), so that they are still free after a restart of
// whoever listens there.
func freePorts(first, n int, addresses ...string) ([]int, error) {
	var ports []int
	for port := first; port < 32768 && len(ports) < n; port++ {
		if portFree(port, addresses) {
			ports = append(ports, port)
		}
	}
	if len(ports) < n {
		return nil, fmt.Errorf("fewer than %d free ports from %d on %q", n, first, addresses)
	}
	return ports, nil
}

func portFree(port int, addresses []string) bool {
	for _, address := range addresses {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
