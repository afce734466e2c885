# The targets that people use; each works in a fresh clone. From an archive of the
# sources, where there is no Git repository, build and static take
# HOLDFAST_VERSION=v0.1.0 as what "holdfast version" says.

GO ?= go
FUZZTIME ?= 60s

.PHONY: build demo test test-wine check vulncheck static fuzz bench bench-serve mutate-keychain chaos

build: ## builds ./bin/holdfast, with PKCS#11 if there is a C compiler
	$(GO) build -trimpath -tags netgo,osusergo $(if $(HOLDFAST_VERSION),-ldflags=-X=github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front.version=$(HOLDFAST_VERSION)) -o bin/ ./cmd/holdfast

demo: ## shows the main job on this machine, without AWS or hardware
	@echo "building, which takes about a minute the first time" >&2
	@$(GO) run ./cmd/holdfast demo

test: ## installs what the tests need and runs all of them
	@script/test-deps
	@$(GO) run script/test.go -race -shuffle=on -parallel=8 -timeout=30m ./...

test-wine: ## runs the tests of what differs on Windows under Wine
	@script/test-deps wine
	@script/test-wine

check: ## checks the sources without running them
	@script/check

vulncheck: ## asks which known vulnerabilities reach this code
	@$$(cd tools && $(GO) tool -n govulncheck) ./...

static: ## builds static binaries for every platform
	@script/build-all

fuzz: ## runs each fuzz target for FUZZTIME
	@script/fuzz $(FUZZTIME)

bench: build ## measures; see docs/performance.md
	@script/bench

mutate-keychain: ## breaks the keychain backend piece by piece and sees that its tests notice
	@$(GO) run script/mutate-keychain.go

bench-serve: ## measures serve under load; see docs/performance.md
	@$(GO) test -run '^$$' -bench '^BenchmarkServe$$' -benchtime 1x ./cmd/holdfast/internal/bench

chaos: ## shows for minutes what the tests show for seconds; see docs/reliability.md
	@script/chaos
