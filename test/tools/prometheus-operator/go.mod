module tools.prometheus-operator

go 1.26.0

// No program of it is built. The story TestChartObjects reads the CRDs in its folder example/prometheus-operator-crd.
require github.com/prometheus-operator/prometheus-operator v0.92.1
