# Each target works in a fresh clone. In a source archive without a Git
# repository, set HOLDFAST_VERSION, for example to v0.1.0: build and static put it
# into the binary, and "holdfast version" prints it.

GO ?= go
FUZZTIME ?= 60s
SOAKTIME ?= 10m
BIN ?= bin
PREFIX ?= /usr/local
# The folder of the completions for zsh below PREFIX/share/zsh. Below /usr, zsh of Debian
# reads another one than the original (README.Debian of its package zsh).
ZSH_COMPLETIONS ?= $(if $(and $(filter /usr,$(PREFIX)),$(wildcard /etc/debian_version)),vendor-completions,site-functions)

.PHONY: build share install demo walkthrough test test-kubernetes test-wine fips check vulncheck static release test-release sign-release fuzz bench bench-serve bench-agent mutate-keychain chaos soak fleet

# Holdfast refuses a helper that others can replace, also in a bin that existed before.
build: ## builds bin/holdfast, bin/holdfast-ecp, and bin/holdfast-pkcs11, in which PKCS #11 modules can run
	umask 022 && $(GO) build -trimpath -tags netgo,osusergo $${HOLDFAST_VERSION:+"-ldflags=-X=github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front.version=$$HOLDFAST_VERSION"} -o $(BIN)/ ./cmd/holdfast
	umask 022 && $(GO) build -trimpath -tags netgo,osusergo $${HOLDFAST_VERSION:+"-ldflags=-X=github.com/holdfast-dev/holdfast/cmd/holdfast-ecp/internal/ecp.version=$$HOLDFAST_VERSION"} -o $(BIN)/ ./cmd/holdfast-ecp
	umask 022 && CGO_ENABLED=0 $(GO) build -trimpath $${HOLDFAST_VERSION:+"-ldflags=-X=main.version=$$HOLDFAST_VERSION"} -o $(BIN)/ ./cmd/holdfast-pkcs11
	chmod go-w $(BIN) $(BIN)/holdfast $(BIN)/holdfast-ecp $(BIN)/holdfast-pkcs11

share: ## writes the manual pages and the completions of the shells into bin/share
	rm -rf $(BIN)/share
	umask 022 && $(GO) run -trimpath -tags netgo,osusergo ./cmd/holdfast/internal/manual $(BIN)/share

# This target only copies files, so that root needs neither Go nor its caches.
install: ## installs what build and share made below PREFIX; DESTDIR precedes all paths
	@test -d $(BIN)/share && test -x $(BIN)/holdfast || { echo "first run: make build share" >&2; exit 1; }
	umask 022 && mkdir -p "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/libexec/holdfast" "$(DESTDIR)$(PREFIX)/share"
	install -m 755 $(BIN)/holdfast $(BIN)/holdfast-ecp "$(DESTDIR)$(PREFIX)/bin/"
	install -m 755 $(BIN)/holdfast-pkcs11 "$(DESTDIR)$(PREFIX)/libexec/holdfast/"
	umask 022 && cp -R $(BIN)/share/. "$(DESTDIR)$(PREFIX)/share/"
ifneq ($(ZSH_COMPLETIONS),site-functions)
	umask 022 && cd "$(DESTDIR)$(PREFIX)/share/zsh" && mkdir -p $(ZSH_COMPLETIONS) && \
		mv site-functions/_holdfast $(ZSH_COMPLETIONS)/ && { rmdir site-functions 2>/dev/null || true; }
endif

demo: ## demonstrates Holdfast on this machine, without AWS or hardware
	@echo "building; the first time, this takes about a minute" >&2
	@$(GO) run ./cmd/holdfast demo

walkthrough: build ## runs docs/walkthrough.md with the emulator and prints each command; needs openssl, the AWS CLI and jq
	@script/walkthrough

# The slowest packages start first, so that the other cores are not idle at the
# end.
test: ## installs the programs that the tests need and runs all tests
	@script/test-deps
	@$(GO) run script/test.go -race -shuffle=on -parallel=8 -timeout=30m ./tpm ./keystore/file ./...
	@$(GO) run script/test.go -C rolesanywhere/awssdk -race -shuffle=on ./...
	@$(GO) run script/test.go -C keystore/spiffe/interop -race -shuffle=on ./...
	@set -e; for module in examples/*/go.mod; do $(GO) run script/test.go -C $${module%/go.mod} -race ./...; done

# make test runs these tests, too, once the programs are built.
test-kubernetes: ## builds an API server of Kubernetes, and runs the tests that need it
	@script/test-deps kubernetes
	@HOLDFAST_REQUIRE=kubernetes$${HOLDFAST_REQUIRE:+,$$HOLDFAST_REQUIRE} $(GO) run script/test.go -race -count=1 ./cmd/holdfast/internal/kubernetes

test-wine: ## runs the Windows tests under Wine
	@script/test-deps wine
	@script/test-wine

fips: ## builds with GOFIPS140=latest and runs the tests of FIPS mode; see docs/fips.md
	@GOFIPS140=latest $(GO) test -count=1 -run 'FIPS' ./keystore/file ./rolesanywhere/sigv4 ./cmd/holdfast/internal/interop

check: ## runs the static checks
	@script/check

vulncheck: ## lists the known vulnerabilities that affect this code
	@$$(cd tools && $(GO) tool -n govulncheck) ./...
	@$$(cd tools && $(GO) tool -n govulncheck) -C rolesanywhere/awssdk ./...

static: ## builds a static binary and the helper holdfast-pkcs11 for each platform
	@script/build-all

release: ## builds the archives, packages and the image of a release into dist; see docs/releasing.md
	@script/release

test-release: ## builds every file of a release twice, and installs and starts them
	@HOLDFAST_RELEASE=all script/test-release

sign-release: build ## signs the checksums in dist with the key PRIVATE_KEY and its CERTIFICATE, which can be in a token
	@script/sign-release "$(CERTIFICATE)" "$(PRIVATE_KEY)"

fuzz: ## runs each fuzz target for FUZZTIME
	@script/fuzz $(FUZZTIME)

bench: build ## runs the benchmarks; see docs/performance.md
	@script/bench

mutate-keychain: ## breaks the keychain backend in one place at a time and checks that its tests fail
	@$(GO) run script/mutate-keychain.go

bench-serve: ## runs the load benchmark of serve; see docs/performance.md
	@$(GO) test -run '^$$' -bench '^BenchmarkServe$$' -benchtime 1x ./cmd/holdfast/internal/bench

bench-agent: ## runs the load benchmark of the agent of Kubernetes; see docs/performance.md
	@$(GO) test -run '^$$' -bench '^BenchmarkAgent$$' -benchtime 1x ./cmd/holdfast/internal/agent

chaos: ## runs the fault tests for several minutes; see docs/reliability.md
	@script/chaos

soak: ## runs the tests that use wrong and forgotten passwords for SOAKTIME, and renews certificates 100 times
	@HOLDFAST_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 2h -parallel 8 -v -run 'Soak|^TestYearWith' ./tpm ./cmd/holdfast/internal/keys ./cmd/holdfast/internal/renewing

fleet: ## simulates fleets of up to 100,000 machines under AWS's quotas; writes tables and plots of docs/fleet.md into bin/fleet
	@mkdir -p $(BIN)/fleet
	@HOLDFAST_FLEET=$(abspath $(BIN)/fleet) $(GO) test -count=1 -parallel 2 -run '^TestFleet$$' ./rolesanywhere/credentials >&2
	@cat $(BIN)/fleet/fleet.md
