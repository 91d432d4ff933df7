# `make` lists what there is. `make test` is all that CI runs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOTESTSUM   := go run gotest.tools/gotestsum@v1.13.0
ACTIONLINT  := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
DISTRIBUTION := github.com/distribution/distribution/v3/cmd/registry@v3.1.2
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Test results, as `go test -json` gives them, for the count at the end.
RESULTS := .builder/test-results

# The race detector needs a C compiler. A laptop may lack one; CI may not.
CC_FOUND := $(shell command -v $$(go env CC 2>/dev/null))
ifneq ($(CC_FOUND),)
RACE := -race
else ifeq ($(CI),true)
$(error CI must run the tests under the race detector, which needs a C compiler: install gcc)
endif
# It would have every process sleep for a second at its end.
export GORACE := atexit_sleep_ms=20

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the builder binary for this machine into .builder/bin
	CGO_ENABLED=0 go build -trimpath -o .builder/bin/builder ./cmd/builder

.PHONY: demo
demo: ## Make kernel modules from real parts, in the image, as a user would; TREE=DIR for the kernel of such a source
	@go run ./integration/demo $(if $(TREE),-tree '$(TREE)')

.PHONY: agreement
agreement: ## Ask the gate and booted kernels about broken modules, side by side
	@go run ./integration/agreement

.PHONY: bench
bench: ## Measure against git and the classic script, RUNS (5) turns, into BENCHMARKS.md
	@go run ./integration/bench $(if $(RUNS),-runs $(RUNS))

.PHONY: test
test: ## Run every test there is: what CI runs
	@# Go asks a proxy once for each module; what has come is kept. What lacks one says so.
	@for dir in . deploy/check; do (cd $$dir && go mod download || go mod download || go mod download || true); done
	@rm -rf $(RESULTS); mkdir -p $(RESULTS); status=0; \
	$(MAKE) --no-print-directory --keep-going lint unit deploy integration soak || status=$$?; \
	find $(RESULTS) -name '*.json' -exec cat '{}' + | awk ' \
		/"Test":"/ && /"Action":"pass"/ { pass++ } \
		/"Test":"/ && /"Action":"fail"/ { fail++ } \
		/"Test":"/ && /"Action":"skip"/ { skip++ } \
		END { printf "%d passed, %d failed, %d skipped\n", pass, fail, skip }'; \
	exit $$status

.PHONY: unit
unit: ## Run the unit tests: no network, no root, no Docker
	@mkdir -p $(RESULTS)
	$(GOTESTSUM) --format pkgname --jsonfile $(RESULTS)/unit.json -- $(RACE) -timeout 5m ./...

.PHONY: deploy
deploy: ## Hold deploy/ against butane, kustomize and Kubernetes' own types
	@mkdir -p $(RESULTS)
	cd deploy/check && $(GOTESTSUM) --format pkgname --jsonfile ../../$(RESULTS)/deploy.json -- -count 1 ./...

# Two packages at a time, as much of it waits for one process or a virtual machine of one
# CPU; the longest first, or one of them is left to run alone at the end. The agreement
# comes after them: it takes the modules that the job's tests have built.
.PHONY: integration
integration: INTEGRATION = $(RACE) -p 2 -count 1 -tags integration -timeout 75m
integration: ## Run the tests that use Docker, real kernel sources and QEMU
	@mkdir -p $(RESULTS)
	@status=0; \
	$(GOTESTSUM) --format standard-verbose --jsonfile $(RESULTS)/integration.json -- $(INTEGRATION) \
		$$(go list -tags integration ./integration ./integration/loading ./integration/kernels ./integration/... | grep -v '/agreement$$') || status=$$?; \
	$(GOTESTSUM) --format standard-verbose --jsonfile $(RESULTS)/agreement.json -- $(INTEGRATION) ./integration/agreement || status=$$?; \
	exit $$status

.PHONY: docs
docs: ## Write the parts of the pages that are taken from the program
	go test ./cmd/builder ./pkg ./pkg/modules -run 'Page$$' -update

.PHONY: soak
soak: ## Kill and cut off builder at random moments, many times
	@mkdir -p $(RESULTS)
	$(GOTESTSUM) --format pkgname --jsonfile $(RESULTS)/soak.json -- \
		$(RACE) -count 1 -tags integration -timeout 20m -run Soak ./pkg/kernel/source/... ./pkg/modules/... ./pkg/job/... ./pkg/node/... ./pkg/prune/...

# KMM_CRD=FILE has the server know the kinds of the Kernel Module Management operator, too.
.PHONY: test-cluster
test-cluster: ## Hold deploy/ and the Jobs to a real Kubernetes API server, and push to distribution v3: a quarter of an hour to build
	@mkdir -p $(RESULTS)
	GOBIN=$(CURDIR)/.builder/bin CGO_ENABLED=0 go install $(DISTRIBUTION)
	@status=0; \
	$(GOTESTSUM) --format standard-verbose --jsonfile $(RESULTS)/cluster.json -- $(RACE) -count 1 -tags cluster -timeout 60m ./integration/cluster || status=$$?; \
	FLEET_REGISTRY=$(CURDIR)/.builder/bin/registry \
	$(GOTESTSUM) --format standard-verbose --jsonfile $(RESULTS)/fleet.json -- $(RACE) -count 1 -tags integration -timeout 60m -run TestFleet ./integration || status=$$?; \
	exit $$status

.PHONY: test-gpu
test-gpu: ## On a machine with a GPU and its driver: run the example, and builder load beside that driver
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory gpu-binaries; fi; scripts/test-gpu.sh

.PHONY: gpu-binaries
gpu-binaries: build ## Build what test-gpu runs, for a machine with a GPU and without Go
	CGO_ENABLED=0 go test -c -trimpath -tags gpu -o .builder/bin/gpu.test ./integration/gpu

.PHONY: lint
lint: ## Check format, vet (for arm64, too), staticcheck, that each go.mod is tidy, and the workflows
	@unformatted=$$(gofmt -l cmd internal pkg integration deploy); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed: $$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags integration,gpu,cluster ./...
	GOARCH=arm64 CGO_ENABLED=0 go vet ./cmd/... ./pkg/... ./internal/...
	$(STATICCHECK) -tags integration,gpu,cluster ./...
	go mod tidy -diff
	cd deploy/check && go vet ./... && $(STATICCHECK) ./... && go mod tidy -diff
	$(ACTIONLINT) .github/workflows/*.yml

.PHONY: fuzz
fuzz: ## Fuzz every parser, FUZZTIME (10m) each
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: mutate
mutate: ## Change the program in small ways, and count what of that the unit tests notice, in FOLDERS
	@scripts/mutate.sh $(FOLDERS)

.PHONY: clean
clean: ## Remove what the build and the tests left in the checkout (not the share's results)
	rm -rf .builder/bin $(RESULTS)
