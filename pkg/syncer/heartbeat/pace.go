package heartbeat

import "time"

const (
	// jitter spreads the syncers of many clusters over the interval: ±10 %.
	jitter = 0.1
	// firstBackoff is the rest after the first failure in a row.
	firstBackoff = time.Second
)

// rest is the mean, more or less the jitter. random is in [0,1).
func rest(mean time.Duration, random float64) time.Duration {
	return time.Duration(float64(mean) * (1 - jitter + 2*jitter*random))
}

// backoff is how long to rest after so many failures in a row: twice as long each time, up to limit, and of
// that a random part between a half and the whole, so that the syncers that one kcp has lost do not come back
// all at once ("equal jitter" in AWS's "Exponential Backoff and Jitter"). random is in [0,1).
func backoff(failures int, limit time.Duration, random float64) time.Duration {
	d := min(firstBackoff, limit)
	for n := 1; n < failures && d < limit; n++ {
		d = min(2*d, limit)
	}
	return time.Duration(float64(d) * (1 + random) / 2)
}
