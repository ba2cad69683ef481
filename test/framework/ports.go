package framework

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
)

// firstServicePort is where the search for a controller's ports begins.
const firstServicePort = 18080

// servicePorts are where a controller serves, at kcp's address.
type servicePorts struct {
	Metrics int `json:"metrics"`
	Health  int `json:"health"`
}

// WithAddresses returns the service with the addresses that are missing in it: ports at the environment's own address,
// so that environments beside each other do not meet, chosen once and kept in state.json.
func (e *Environment) WithAddresses(s Service) (Service, error) {
	if s.MetricsAddress != "" && s.HealthAddress != "" {
		return s, nil
	}
	ports, err := e.portsOf(s.Name)
	if err != nil {
		return s, err
	}
	address := e.state.KCP.bind()
	s.MetricsAddress = cmp.Or(s.MetricsAddress, net.JoinHostPort(address, strconv.Itoa(ports.Metrics)))
	s.HealthAddress = cmp.Or(s.HealthAddress, net.JoinHostPort(address, strconv.Itoa(ports.Health)))
	return s, nil
}

// portsOf returns the ports of a controller, and chooses them if this is the first time.
func (e *Environment) portsOf(service string) (servicePorts, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ports, ok := e.state.Services[service]; ok {
		return ports, nil
	}
	unlock, err := e.lock()
	if err != nil {
		return servicePorts{}, err
	}
	defer unlock()
	stored, err := e.stored()
	if err != nil {
		return servicePorts{}, err
	}
	e.state.Services = stored.Services // and no other field: parallel stories read those without the lock
	first := firstServicePort
	for _, taken := range e.state.Services { // also those of controllers that do not run just now
		first = max(first, taken.Metrics+1, taken.Health+1)
	}
	free, err := freePorts(first, 2, e.state.KCP.bind())
	if err != nil {
		return servicePorts{}, err
	}
	if e.state.Services == nil {
		e.state.Services = map[string]servicePorts{}
	}
	e.state.Services[service] = servicePorts{Metrics: free[0], Health: free[1]}
	return e.state.Services[service], e.save()
}

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
