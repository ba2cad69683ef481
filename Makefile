# The commands of this project; `make` lists them. Everything they need beyond Go, make, git and, on a fresh Debian,
# apt-get, is built or installed on the way, once, into $(CACHE).

CACHE ?= $(or $(SYNCTARGET_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/synctarget)
CLUSTERS ?= 1
export CLUSTERS
# Without cgo, so that programs, environment and stories share what is compiled. The race detector needs it: see unit.
export CGO_ENABLED := 0
ENV := go run ./test/env
# Path of a tool in the cache, by the version in its module below test/tools.
tool-path = $(CACHE)/tools/$(1)-$(shell cd test/tools/$(1) && GOWORK=off go list -m -f '{{.Version}}' $(2))/$(1)
CONTROLLER_GEN := $(call tool-path,controller-gen,sigs.k8s.io/controller-tools)
APIGEN := $(call tool-path,apigen,github.com/kcp-dev/sdk)
GOLANGCI_LINT := $(call tool-path,golangci-lint,github.com/golangci/golangci-lint/v2)
HELM := $(call tool-path,helm,helm.sh/helm/v4)
GORELEASER := $(call tool-path,goreleaser,github.com/goreleaser/goreleaser/v2)
KREW := $(call tool-path,krew,sigs.k8s.io/krew)
PROMETHEUS := $(call tool-path,prometheus,github.com/prometheus/prometheus)
PROMTOOL := $(dir $(PROMETHEUS))promtool
LDFLAGS := -s -w -X main.version=$(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.DEFAULT_GOAL := help
# The parts of `make test` share two cores and one environment.
.NOTPARALLEL:
.PHONY: help
help: ## List the commands.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it

.PHONY: demo
demo: ## Start everything and bring a SyncTarget to Ready.
	@$(ENV) demo

.PHONY: up
up: ## Start kcp, a Kubernetes cluster and the controller; again: restart what has died.
	@$(ENV) up

.PHONY: status
status: ## Show what runs.
	@$(ENV) status

.PHONY: down
down: ## Stop what `make up` started.
	@$(ENV) down

##@ Build

.PHONY: build
build: ## Build the programs into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...
	install cmd/kubectl-synctarget/kubectl_complete-synctarget bin/

.PHONY: images
images: ## Build the images; IMAGE_REGISTRY=registry/path pushes them. VERSION=v1.2.3, ARCH="amd64 arm64".
	@IMAGE_REGISTRY='$(IMAGE_REGISTRY)' VERSION='$(VERSION)' ARCH='$(ARCH)' $(ENV) images

.PHONY: release
release: RELEASE_ARGS ?= --snapshot --clean
release: export GORELEASER_CURRENT_TAG := $(VERSION)
# The times in zip archives are local ones.
release: export TZ := UTC
release: $(GORELEASER) $(KREW) ## Build the plugin for all platforms and its Krew manifest into dist/. VERSION=v1.2.3.
	@# goreleaser ignores the commit of a repository that has no remote.
	@git ls-remote --get-url >/dev/null 2>&1 || export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=remote.origin.url \
		GIT_CONFIG_VALUE_0=https://github.com/synctarget/synctarget; $(GORELEASER) release $(RELEASE_ARGS)
	go run ./test/release -krew $(KREW) dist

##@ Test

# Each part is a make of its own, so that the time it takes can be printed.
timed = @start=$$(date +%s); $(MAKE) --no-print-directory $(1); status=$$?; \
	echo "==> $(1): $$(( $$(date +%s) - start )) s"; exit $$status

TEST_PARTS := verify lint unit alerts fuzz e2e demo docs
.PHONY: test $(TEST_PARTS:%=test-%)
test: $(TEST_PARTS:%=test-%) ## Everything that CI checks.
$(TEST_PARTS:%=test-%):
	$(call timed,$(@:test-%=%))

.PHONY: test-quick
test-quick: ## Generated files, lint, unit tests and one story.
	@$(MAKE) --no-print-directory test-verify test-lint test-unit
	@$(MAKE) --no-print-directory e2e RUN=TestSyncDown

.PHONY: packages
packages:
	@$(ENV) packages

.PHONY: unit
unit: packages ## Unit tests, with the race detector.
	CGO_ENABLED=1 go test -race ./cmd/... ./config/... ./pkg/... ./test/framework/... ./test/docs/... ./test/docgen/... \
		./test/release/... ./test/scale/...
	cd test/tools/computegen && GOWORK=off go test ./...
	cd test/tools/helm && GOWORK=off go test ./...
	cd test/tools/dashboards && GOWORK=off go test ./...

.PHONY: alerts
alerts: $(PROMTOOL) ## Test the alerts of the chart on series of metrics.
	$< check rules config/chart/alerts.yaml
	$< test rules test/alerts/alerts.yaml

.PHONY: e2e
e2e: PARALLEL ?= 7
e2e: export CLUSTERS := 2
e2e: export HELM := $(HELM)
e2e: $(HELM) ## Stories on a real kcp and two real clusters. RUN=regexp picks some.
	$(if $(RUN),@grep -hoE '^func Test[A-Za-z0-9_]+' test/e2e/*_test.go | cut -c6- | grep -qE '$(firstword $(subst /, ,$(RUN)))' || { echo "no story matches RUN=$(RUN)" >&2; exit 1; })
	$(ENV) up
	go test -count=1 -p 1 -parallel $(PARALLEL) -timeout 45m -v ./test/e2e/... $(if $(RUN),-run '$(RUN)')

# A count of executions, not a time: Go before 1.27 can report its own end of time as a failure (golang.org/issue/75804).
fuzz = go test -run '^$$' -fuzz '^$(2)$$' -fuzztime $(or $(FUZZTIME),$(3)) -fuzzminimizetime 1000x $(1)

.PHONY: fuzz
fuzz: packages ## Fuzz what must hold for whatever comes; FUZZTIME=10m for longer.
	$(call fuzz,./pkg/syncer/naming,FuzzNamespace,50000x)
	$(call fuzz,./pkg/syncer/naming,FuzzNamespaceLabel,50000x)
	$(call fuzz,./pkg/syncer/discovery/compatibility,FuzzCompare,200000x)
	$(call fuzz,./pkg/pcluster,FuzzParse,20000x)

.PHONY: docs
docs: ## Run the commands that the documents show, in the environment of `make demo`.
	go test -count=1 -timeout 30m -tags docs -v ./test/docs/console -run TestPages

.PHONY: bench
bench: ## Measure the figures of docs/benchmarks.md. RUN=regexp picks some.
	$(ENV) up
	go test -count=1 -p 1 -timeout 120m -v -tags bench ./test/bench/... $(if $(RUN),-run '$(RUN)')

.PHONY: dashboards
dashboards: $(PROMETHEUS) ## Draw the dashboards with data of a real Prometheus, into docs/images.
	$(ENV) up
	BENCH_PROMETHEUS=$< go test -count=1 -timeout 30m -v -tags bench ./test/bench -run TestDashboards

.PHONY: bench-scale
bench-scale: ## Measure the controller with 1,000 to 10,000 simulated SyncTargets. BENCH_TARGETS=100,1000 for other sizes.
	go run ./test/scale

.PHONY: lint
# Its findings are cached with the path of the checkout: one that is gone must not be read for another.
lint: export GOLANGCI_LINT_CACHE = $(CACHE)/golangci-lint/$(shell pwd | cksum | cut -d ' ' -f 1)
lint: $(GOLANGCI_LINT) ## Style and import rules.
	$< run
	cd test/tools/computegen && GOWORK=off $< run
	cd test/tools/helm && GOWORK=off $< run
	cd test/tools/dashboards && GOWORK=off $< run

.PHONY: verify
verify: ## Generated files and modules are up to date.
	@./test/verify.sh

##@ Generate

.PHONY: generate
generate: $(CONTROLLER_GEN) $(APIGEN) ## Deepcopy, CRD, APIResourceSchemas, APIExports, reference pages.
	$(CONTROLLER_GEN) object paths=./pkg/apis/...
	$(CONTROLLER_GEN) crd paths=./pkg/apis/... output:crd:dir=config/crd/bases
	$(APIGEN) --input-dir config/crd/bases --output-dir config/kcp
	cd test/tools/computegen && GOWORK=off go run . --kubernetes ../kubernetes --output ../../../config/kcp-compute
	go run ./test/docgen
	cd test/tools/dashboards && GOWORK=off go run . --output ../../../config/chart/dashboards

# Tools, one module each. Built aside and moved, so that an interrupted build is not taken for a finished one.
tool = @mkdir -p $(@D) && echo "building $(@F) (once)" && cd test/tools/$(1) && GOWORK=off go build -o $@.tmp $(2) && mv $@.tmp $@

$(CONTROLLER_GEN):
	$(call tool,controller-gen,sigs.k8s.io/controller-tools/cmd/controller-gen)

$(APIGEN):
	$(call tool,apigen,github.com/kcp-dev/sdk/cmd/apigen)

$(HELM):
	$(call tool,helm,helm.sh/helm/v4/cmd/helm)

$(GORELEASER):
	$(call tool,goreleaser,github.com/goreleaser/goreleaser/v2)

$(KREW):
	$(call tool,krew,sigs.k8s.io/krew/cmd/krew)

# Without the service discoveries, of which neither is used.
$(PROMTOOL):
	$(call tool,prometheus,-tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool)

$(PROMETHEUS):
	$(call tool,prometheus,-tags remove_all_sd github.com/prometheus/prometheus/cmd/prometheus)

$(GOLANGCI_LINT):
	$(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
