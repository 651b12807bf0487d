# The commands of this repository. README.md has the two that a newcomer needs.

SHELL := /bin/bash
export CGO_ENABLED ?= 0

# Parts that a build can leave out: docs/dependencies.md. PARTS names those that
# it takes, and is all if it isn't set; core is what has no name of its own.
parts := bench clients websocket etcd hook ldap acme
unknown := $(filter-out core $(parts),$(PARTS))
ifneq ($(unknown),)
$(error PARTS has $(unknown); there are: core $(parts))
endif
tags := $(if $(PARTS),$(patsubst %,without_%,$(filter-out $(PARTS),$(parts))))
BIN ?= bin/midge
BUILD := go build -trimpath -ldflags "-s -w" -tags "$(tags)"

.PHONY: build run check test moretest modeltest crashtest mutants fuzz bench microbench docs install-test-tools clean

build: ## Build bin/midge, or BIN. PARTS=core leaves out all that the broker doesn't need.
	$(BUILD) -o $(BIN) ./cmd/midge

run: build ## Build and serve on 127.0.0.1:1883. ARGS adds flags.
	exec bin/midge serve --listen tcp://127.0.0.1:1883 $(ARGS)

check: ## The fast checks: format, vet, other systems, tests without extras.
	test/run check

test: ## Install what the tests need, and run all of them.
	test/install-tools
	test/run all

moretest: ## What 'make test' has no time for: other processors, more with the race detector, fifty times the inputs.
	test/run more

modeltest: ## Run the model of the broker for MINUTES (10), and beside it kills under load, ROUNDS (50) on each engine.
	MIDGE_MODEL_MINUTES=$(or $(MINUTES),10) go test -count 1 -timeout 0 -run 'TestModel$$' ./internal/broker & model=$$!; \
	for engine in epoll goroutine; do \
		go test -v -count 1 -timeout 0 -tags integration ./test/crash -rounds $(or $(ROUNDS),50) -engine $$engine || failed=1; \
	done; \
	wait $$model && test -z "$$failed"

crashtest: ## Kill the broker under load, ROUNDS (50) times, and count losses. MIDGE_SEED repeats a run.
	go test -v -count 1 -timeout 60m -tags integration ./test/crash -rounds $(or $(ROUNDS),50)

fuzz: ## Run each fuzz target on FUZZTIME inputs (50000x or 250000x, five times those of 'make test').
	test/run fuzz

mutants: ## Change N (200) small things, chosen by SEED (1), and see whether a test notices. Half an hour.
	go run ./test/mutate -n $(or $(N),200) -seed $(or $(SEED),1)

bench: build ## Compare Midge and Mosquitto, less than five minutes: bench/results/compare.*. PLAN, OUT and ARGS choose otherwise.
	bin/midge bench compare $(or $(PLAN),bench/plans/quick.toml) --out $(or $(OUT),bench/results/compare) \
		--commit "$$(git describe --always --dirty)" $(ARGS)

microbench: ## Run the Go benchmarks six times, ready for benchstat. BENCH picks some.
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count 6 ./internal/...

docs: ## Write the generated pages.
	go test ./internal/config -run TestReferenceIsUpToDate -update
	go test ./internal/cli -run TestReferenceIsUpToDate -update
	go test ./internal/broker -run TestSysPage -update
	go test ./internal/conformance -run TestPageIsUpToDate -update

install-test-tools: ## Install what the tests need, each only where missing.
	test/install-tools

clean:
	rm -rf bin
