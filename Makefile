# Everything is run from here; `make help` lists it. On a bare Debian or Ubuntu machine the first
# command installs what is missing and says what.

VENV := .venv
PYTHON := $(VENV)/bin/python
SYSTEM_PYTHON := /usr/bin/python3
# One place for every tool of the virtual environment, tests' child processes included.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# The BPF Compiler Collection with its headers, the laboratory's server, clients and balancer.
ATTACH_PACKAGES := python3-bpfcc linux-libc-dev
RUN_PACKAGES := $(ATTACH_PACKAGES) python3-venv libc6-dev samba smbclient nftables iproute2
# What scenarios of the laboratory need beside that: a recorder, a NAT64, a proxy.
SCENARIO_PACKAGES := tcpdump tayga haproxy
# The servers which alerts and dashboards are made for; promtool comes with the first one.
STACK_PACKAGES := prometheus prometheus-alertmanager
# What compiles the decoder; without them it is interpreted, and slow.
BUILD_PACKAGES := gcc python3-dev
# What builds the Debian package and judges it.
DEB_PACKAGES := debhelper dpkg-dev lintian python3-venv
# Independent decoders, a compiler for the record's header, the laboratory's scenarios, certificates, a service manager for
# a machine of its own, xdp-tools for somebody else's XDP programs, a browser, clean Debians to install on, tools that
# tests use.
TEST_PACKAGES := mount tshark $(SCENARIO_PACKAGES) $(BUILD_PACKAGES) python3-samba zstd ethtool openssl logrotate systemd xdp-tools chromium \
	chromium-driver mmdebstrap debian-archive-keyring $(DEB_PACKAGES) $(STACK_PACKAGES)
# A machine to emulate, what starts in it before its disk is there, modules to load, apt to name Debian's kernels.
VM_PACKAGES := qemu-system-x86 busybox-static kmod python3-apt

# Where `make install` puts what; DESTDIR stands before all of it.
PREFIX ?= /usr/local
DESTDIR ?=
ENVIRONMENT ?= $(PREFIX)/lib/epm-inspector
UNIT_FOLDER ?= /etc/systemd/system
LOCATIONS = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' ENVIRONMENT='$(ENVIRONMENT)' UNIT_FOLDER='$(UNIT_FOLDER)'
WHEELS := build/wheels.stamp
# Modules with C types beside them are compiled; layout.pxd is written from layout.py.
TYPES := $(shell find inspector -name '*.pxd' ! -name layout.pxd)
COMPILED := $(TYPES) $(TYPES:.pxd=.py) $(shell find inspector -name layout.py)
# What is installed from the network is what locks/ names, by version and hash.
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help

.PHONY: help
help:  ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/run.stamp  ## build the laboratory gateway and watch the mismatch happen (DEMO_SECONDS=N ends by itself; SCENARIO=NAME)
	$(if $(SCENARIO),$(call install,$(SCENARIO_PACKAGES),scenarios of the laboratory))
	$(PYTHON) -m inspector demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(if $(SCENARIO),--scenario '$(SCENARIO)')

.PHONY: demo-stack
demo-stack: $(VENV)/stack.stamp  ## the same with Prometheus, Alertmanager, and Grafana where it is: an alert comes and goes
	$(PYTHON) -m dashboards.stack $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

# In how many processes tests are run. Those that take the machine for themselves share one of them (tests/choice.py).
JOBS ?= $(if $(BRIEF),2,1)
PYTEST = $(PYTHON) -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS)) $(if $(BRIEF),--brief)

.PHONY: test
test: lint  ## lint, types, and all tests (BRIEF=1: the choice of CI; JOBS=2); what the machine cannot run is skipped with the reason (CI=true: fails)
	$(PYTEST)

.PHONY: unit
unit: $(VENV)/unit.stamp  ## the short choice of tests/unit: no root, none of Debian's packages but Python, a minute
	@$(PYTHON) -m pytest -n 4 --brief tests/unit

.PHONY: kernel
kernel: $(VENV)/test.stamp  ## tests of the programs in the running kernel, as root (BRIEF=1)
	$(PYTHON) -m pytest tests/kernel $(if $(BRIEF),--brief)

.PHONY: lab
lab: $(VENV)/test.stamp  ## tests in the laboratory gateway, as root (BRIEF=1)
	$(PYTHON) -m pytest tests/lab $(if $(BRIEF),--brief)

.PHONY: coverage
coverage: $(VENV)/unit.stamp  ## lines and branches that tests without root reach; build/coverage/index.html
	$(PYTHON) -m pytest -n 2 --brief --cov --cov-report=term --cov-report=html \
		tests/unit tests/golden tests/cases tests/property

.PHONY: nightly
nightly:  ## all that CI leaves out of a change: every kernel, sanitizers, all tests, clean Debians, long fuzzing, the soak
	.ci/nightly

.PHONY: vm-test
vm-test: $(VENV)/test.stamp  ## kernel tests on other kernels, in virtual machines (KERNELS=6.1, TESTS=..., BRIEF=1)
	$(call install,$(VM_PACKAGES),virtual machines)
	$(PYTHON) -m tests.vm $(KERNELS) $(if $(BRIEF),--brief) $(if $(TESTS),--tests $(TESTS))

.PHONY: lint
lint: $(VENV)/test.stamp  ## ruff (rules and format), clang-format and mypy (strict)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	clang-format --dry-run -Werror bpf/*.[ch]
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy packaging/documents.py

.PHONY: format
format: $(VENV)/test.stamp  ## put every file into the project's format
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
	clang-format -i bpf/*.[ch]

.PHONY: bench
bench: $(VENV)/test.stamp  ## run the benchmarks beside their baselines; writes build/bench.json
	$(PYTHON) -m tests.bench

.PHONY: fuzz-kernel
fuzz-kernel: $(VENV)/test.stamp  ## a million hostile frames through the kernel program (FRAMES=N, SEED=N)
	$(PYTHON) -m tests.kernel.fuzz $(if $(FRAMES),--frames $(FRAMES)) $(if $(SEED),--seed $(SEED))

.PHONY: sanitize
sanitize: $(VENV)/test.stamp  ## hostile input for the compiled modules under AddressSanitizer and UBSan (BRIEF=1: a part)
	$(PYTHON) -m tests.sanitize $(if $(BRIEF),--brief) -q

.PHONY: debian13
debian13: $(VENV)/test.stamp  ## many tests on a clean Debian 13; `make test` runs a few of them there
	DEBIAN13=1 $(PYTHON) -m pytest tests/system/test_debian13.py

.PHONY: soak
soak: $(VENV)/test.stamp  ## run an inspector for SOAK_MINUTES (20) through traffic and faults: does anything grow?
	$(PYTHON) -m tests.soak $(if $(SOAK_MINUTES),--minutes $(SOAK_MINUTES))

.PHONY: golden
golden: $(VENV)/test.stamp  ## rewrite the golden traces and their baselines; review the difference
	$(PYTHON) -m tests.golden.rewrite

.PHONY: dashboards
dashboards: $(VENV)/stack.stamp  ## rewrite dashboards, alerts and provisioning files; review the difference
	$(PYTHON) -m dashboards.generator

.PHONY: locks
locks:  ## renew locks/: versions and hashes of all Python packages (KEEP=1: only what pyproject.toml changed)
	@KEEP='$(KEEP)' packaging/locks.sh

.PHONY: wheels
wheels: $(WHEELS)  ## build the wheel, and gather those it needs; `make install` needs no network after that

.PHONY: install
install: $(WHEELS)  ## install for this machine (PREFIX, DESTDIR, ENVIRONMENT, UNIT_FOLDER); docs/installation.md
	$(if $(DESTDIR),,$(call install,$(ATTACH_PACKAGES),attaching to interfaces))
	@$(LOCATIONS) packaging/install.sh

.PHONY: uninstall
uninstall:  ## remove it; changed settings, captures and evidence stay (PURGE=1: they go, too)
	@$(LOCATIONS) PURGE='$(PURGE)' packaging/uninstall.sh

.PHONY: deb
deb: $(WHEELS)  ## build a Debian package for this release and architecture: build/*.deb
	$(call install,$(DEB_PACKAGES),the Debian package)
	@packaging/deb.sh

.PHONY: clean
clean:  ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# $(call install,packages,purpose): install those of the packages which are missing; say which, and what they are for.
define install
	@missing=$$(for package in $(1); do \
		dpkg-query --show --showformat='$${Status}' "$$package" 2>/dev/null | grep -q 'ok installed' || echo "$$package"; \
	done | tr '\n' ' '); \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages for $(2):" $$missing; \
		case " "$$missing" " in *" samba "*) \
			echo "note: Debian starts the services of samba and smbd when it installs samba; the laboratory does" \
				"not need them (systemctl disable --now smbd nmbd samba-ad-dc)";; \
		esac; \
		case " "$$missing" " in *" haproxy "*) \
			echo "note: Debian starts haproxy when it installs it, without a listener; the laboratory starts its own" \
				"(systemctl disable --now haproxy)";; \
		esac; \
		case " "$$missing" " in *" prometheus"*) \
			echo "note: Debian starts prometheus and prometheus-alertmanager when it installs them, on ports 9090 and" \
				"9093 of all addresses; the tests and the demonstration start their own on loopback" \
				"(systemctl disable --now prometheus prometheus-alertmanager)";; \
		esac; \
		as_root=; [ "$$(id -u)" = 0 ] || as_root=$$(command -v sudo || true); \
		if [ "$$(id -u)" != 0 ] && [ -z "$$as_root" ]; then \
			echo "not root, and there is no sudo: install them as root first" >&2; exit 1; \
		fi; \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq && \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

# $(call from_lock,NAME): install what locks/NAME.txt names, sources built by what locks/build.txt names, and the project.
define from_lock
	@$(PIP) --require-hashes --requirement locks/build.txt
	@$(PIP) --require-hashes --no-build-isolation --requirement locks/$(1).txt
	@$(PIP) --no-deps --no-build-isolation --editable .
# Left empty by an installation with hatchling before, it would be found in the project's place.
	@rmdir $(VENV)/lib/python3*/site-packages/inspector 2>/dev/null || true
endef

define check_python
	@[ ! -x $(SYSTEM_PYTHON) ] || $(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		$(SYSTEM_PYTHON) --version >&2; \
		echo "the distribution's Python must be 3.11 or later (Debian 12, Ubuntu 24.04): its bcc is used" >&2; exit 1; }
endef

define make_venv
	@[ -x $(PYTHON) ] || { echo "making $(VENV)"; $(SYSTEM_PYTHON) -m venv --system-site-packages $(VENV); }
endef

# The environment sees the distribution's packages: bcc comes from there, PyPI's package of that name is another.
# The decoder is compiled by the installation, where there is a compiler: changed sources install it again.
$(VENV)/run.stamp: pyproject.toml setup.py Makefile locks/build.txt locks/lab.txt $(COMPILED)
	$(call check_python)
	$(call install,$(RUN_PACKAGES),the inspector and its laboratory)
	$(call make_venv)
	@echo "installing the inspector and what it needs into $(VENV)"
	$(call from_lock,lab)
	@touch $@

# Nothing of Debian's is installed for it. Another Python: make unit SYSTEM_PYTHON=python3.13.
$(VENV)/unit.stamp: pyproject.toml setup.py Makefile locks/build.txt locks/dev.txt $(COMPILED)
	$(call check_python)
	$(call make_venv)
	@echo "installing the inspector and the tools for tests into $(VENV)"
	$(call from_lock,dev)
	@touch $@

$(VENV)/stack.stamp: $(VENV)/run.stamp locks/stack.txt
	$(call install,$(STACK_PACKAGES),the demonstration of alerts)
	@echo "installing the generator of dashboards and alerts into $(VENV)"
	$(call from_lock,stack)
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp locks/dev.txt
	$(call install,$(TEST_PACKAGES),tests)
	@echo "installing the tools for tests into $(VENV)"
	$(call from_lock,dev)
	@touch $@

# Some hundred files; one that is newer than the stamp makes the wheels anew.
$(WHEELS): pyproject.toml setup.py README.md LICENSE packaging/wheels.sh packaging/wheel.sh locks/packaging.txt locks/runtime.txt $(shell find inspector bpf -name __pycache__ -prune -o -type f -print)
	$(call install,python3-venv $(BUILD_PACKAGES),building the wheel)
	@packaging/wheels.sh
	@touch $@
