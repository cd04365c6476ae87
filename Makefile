# SPDX-License-Identifier: GPL-2.0
# The commands for users and developers. The scripts that do the work are in harness/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# A make that is interrupted ends the builds and guests that its recipes have started.
SHELL := $(if $(shell command -v python3),harness/lib/supervise.py,/bin/sh)

# BASE=6.1: another Linux than the default one. Its trees are in build/6.1; the programs for
# the guests are those of the default tree.
DEFAULT_BASE := $(file <harness/base/default)
AT := $(if $(filter-out $(DEFAULT_BASE),$(BASE)),$(BASE)/)

.PHONY: help
help: ## this list
	@echo 'A BPF_MAP_TYPE_REUSEPORT_SOCKARRAY for Linux. What you can make:'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | awk -F@ '{printf "  %-20s%s\n", $$1, $$2}'
	@echo
	@echo 'BASE_TARBALL=linux-6.12.y.tar.xz uses that tarball instead of Debian'"'"'s package.'
	@echo 'BASE=7.3 or 6.1: make demo, check, bench, shell, diff on that Linux, in build/7.3.'

# reuseportctl for this machine. It needs no kernel tree.
PREFIX ?= /usr/local
.PHONY: tool
tool: ## build reuseportctl into build/tool (half a minute)
	@packaging/build-tool all

.PHONY: install-tool
install-tool: ## install reuseportctl, its manual page, completion and unit (PREFIX=/usr/local, DESTDIR=)
	@packaging/build-tool prefix=$(PREFIX) DESTDIR=$(DESTDIR) install

.PHONY: uninstall-tool
uninstall-tool: ## remove what install-tool has installed (with the same PREFIX and DESTDIR)
	@$(MAKE) -C tools/bpf/reuseportctl prefix=$(PREFIX) DESTDIR=$(DESTDIR) uninstall

.PHONY: dist
dist: ## a static reuseportctl in a tarball, the same bytes each time: build/dist/
	@packaging/build-dist

.PHONY: deb-tool
deb-tool: ## a Debian package of reuseportctl: build/deb-tool/
	@harness/packages/install --only tool package
	@packaging/build-deb

.PHONY: rpm-tool
rpm-tool: ## an RPM package of reuseportctl: build/rpm-tool/
	@harness/packages/install --only tool package
	@packaging/build-rpm

.PHONY: demo
demo: tests $(AT)ours/um ## restart a server under load without losing a packet (6 minutes, then 1)
	@harness/guest/boot -t 300 -o build/$(AT)demo $(AT)ours/um /demo/run-demo
	@harness/demos/restart/plot-demo build/$(AT)demo

.PHONY: demo-servers
demo-servers: ON := $(or $(ON),ours/um)
demo-servers: tests $(if $(filter native,$(ON)),,ours/um) ## restart Debian's servers under load (half an hour; ON=native: on this kernel; SERVERS=nginx: one of them)
	@harness/demos/servers/fetch-servers
	@harness/guest/boot -t 7200 -m 2048 -f build/servers/root -o build/demo $(ON) /servers/run-servers $(SERVERS)
	@harness/demos/servers/plot-servers build/demo

.PHONY: demo-quic
demo-quic: tests ## restart QUIC servers while clients change their addresses, on this machine's kernel (8 minutes; needs root)
	@harness/packages/install quic
	@harness/demos/quic/fetch-quic
	@harness/guest/native -f build/quic/root sh /quic/run-quic

.PHONY: check-systemd
check-systemd: tests ours/um ## run the units of the manual page and of the package under systemd and reload them under load (2 minutes)
	@harness/demos/servers/test-systemd

.PHONY: check
check: tests ## the tests (up to an hour from a fresh clone)
	@$(if $(PARTIAL),,harness/packages/install qemu)
	@$(RUN_CHECKS) $(call kernels,$(GUESTS) $(if $(PARTIAL),,$(AT)ours/debug $(if $(LIMITS),$(AT)ours/bench))) -- \
		$(if $(PARTIAL),harness/suites/selftests,$(if $(AT),$(BASE_CHECKS),$(CHECKS)))

.PHONY: check-deep
check-deep: tests ## also long tests, mutants, KCSAN, PREEMPT_RT (half an hour to build, then an hour; resumes)
	@harness/packages/install qemu upstream
	@$(RUN_CHECKS) --resume $(call kernels,$(GUESTS) ours/debug ours/bench ours/kcsan ours/rt) \
		'make upstream-guest' -- $(DEEP_CHECKS) $(CHECKS)

.PHONY: check-release
check-release: tests ## also the series, other bases and processors, packages (3 hours; resumes)
	@harness/packages/install qemu source deb docs arm64 s390x 6.1
	@BASE=7.3 harness/packages/install
	@for base in 6.1 7.3; do env -u BASE_TARBALL BASE=$$base harness/trees/trees.py || exit; done
	@$(RUN_CHECKS) --resume $(call kernels,$(GUESTS)) -- $(RELEASE_CHECKS)

RUN_CHECKS = harness/checks/run-checks.py
# The kernels that most checks need, and the commands that build kernels
GUESTS = $(addprefix $(AT),ours/um stock/um stripped/um)
kernels = $(foreach k,$(1),'harness/kernel/build $(k)')
# The limits of the benchmark on the base, if it has any. Does it lack the KUnit tests?
LIMITS := $(wildcard harness/base/$(or $(BASE),$(DEFAULT_BASE))/limits)
PARTIAL := $(if $(AT),$(shell grep -s '^kernel/bpf/tests' harness/base/$(BASE)/exclude))

BASE_CHECKS = \
	'harness/suites/selftests-smp debug' \
	'harness/suites/selftests-smp debug stress' \
	harness/suites/selftests \
	$(if $(LIMITS),harness/bench/check-limits) \
	harness/bench/socket_sizes.py \
	harness/suites/kunit
CHECKS = \
	'harness/suites/selftests-smp debug --kernel' \
	'harness/suites/selftests-smp debug stress --ops 30000' \
	'harness/suites/test-reuseportctl ours/um' \
	harness/suites/selftests \
	harness/suites/difftest/difftest.py \
	harness/suites/model/check-model \
	harness/bench/check-limits \
	harness/suites/kunit \
	harness/bench/socket_sizes.py \
	harness/checks/check-docs.py \
	harness/checks/check-bpftool \
	harness/checks/check-ctl \
	harness/checks/check-package
DEEP_CHECKS = \
	harness/suites/mutants/run-mutants.py \
	'harness/suites/selftests-smp debug stress' \
	'harness/suites/selftests-smp debug bpftool_map' \
	'harness/suites/selftests-smp debug examples_run' \
	'harness/suites/selftests-smp debug page_examples' \
	'harness/suites/selftests-smp upstream stress --ops 5000000' \
	harness/suites/upstream/compare-upstream \
	'harness/suites/difftest/difftest.py --long' \
	'harness/suites/selftests-smp kcsan' \
	'harness/suites/selftests-smp kcsan stress --ops 20000' \
	'harness/suites/selftests-smp rt' \
	'harness/suites/selftests-smp rt stress --ops 20000' \
	'harness/suites/selftests-smp upstream' \
	'harness/suites/kunit run' \
	harness/suites/repro-free-race/repro-free-race \
	harness/suites/coverage
RELEASE_CHECKS = \
	'make bench' \
	harness/series/check-series \
	harness/series/check-fixes \
	'env BASE=6.1 harness/series/check-fixes' \
	'env BASE=7.3 harness/series/check-fixes' \
	'env BASE=7.3 harness/series/check-series' \
	'make check BASE=6.1' \
	'make check BASE=7.3' \
	'make check-arch' \
	'make check-arch MACHINE=s390x' \
	harness/checks/check-source \
	harness/checks/check-deb \
	'harness/checks/check-package bookworm trixie' \
	harness/kernel/build-docs \
	'env STEP=1 harness/suites/test-reuseportctl ours/um' \
	'env STEP=101 harness/suites/test-reuseportctl debian/7.3 debian/6.1 debian/5.10' \
	'harness/suites/selftests debian/7.3' \
	harness/suites/clients/test-clients.py \
	'harness/suites/test-reuseportctl stock/um native' \
	harness/demos/servers/test-servers \
	harness/demos/servers/test-in-place \
	harness/demos/servers/test-systemd \
	harness/demos/servers/test-stall.py \
	'make demo-quic'

.PHONY: selftests-smp
selftests-smp: tests ours/$(or $(SMP),debug) ## contract tests and stress on two CPUs; SMP=debug, upstream, kcsan or rt
	@$(RUN_CHECKS) 'harness/suites/selftests-smp $(or $(SMP),debug)' 'harness/suites/selftests-smp $(or $(SMP),debug) stress'

.PHONY: difftest
difftest: trees ## compare the results of 100,000 calls with stock (1 minute; DIFFTEST=--long: 10)
	@harness/kernel/build stock/um
	@harness/kernel/build ours/um
	@harness/guest/build-initramfs
	@harness/suites/difftest/difftest.py $(DIFFTEST)

.PHONY: test-reuseportctl
test-reuseportctl: all-guests ## test reuseportctl on our kernel and on stock (4 minutes; STEP=1: 20)
	@harness/suites/test-reuseportctl

.PHONY: test-clients
test-clients: all-guests ## run clients that Debian ships, libbpf 1.1 to 1.7 and more, on stock and ours (2 minutes)
	@harness/suites/clients/test-clients.py

.PHONY: bench
bench: bench-kernels ## compare instruction counts with stock and with their targets (25 minutes, then 10)
	@harness/bench/run-bench.py

.PHONY: bench-guard
bench-guard: $(AT)ours/bench ## check instruction counts against limits (1 minute)
	@harness/guest/build-initramfs
	@harness/bench/check-limits

.PHONY: bench-kernels
bench-kernels: tests
	@harness/packages/install qemu
	@for config in bench bench-smp; do \
		harness/kernel/build $(AT)stock/$$config && harness/kernel/build $(AT)ours/$$config || exit; \
	done
	@harness/guest/build-initramfs

.PHONY: check-source
check-source: tests ## check wording, layout, layers, checkpatch, sparse, W=1, and several configurations
	@harness/packages/install source
	@harness/checks/check-source

.PHONY: kunit
kunit: tests ours/um ours/debug ## run the KUnit tests, on UML and with KASAN and lockdep (15 minutes, then 1)
	@harness/suites/kunit

.PHONY: model
model: setup ## check all states of the model of slots and sockets (1 minute)
	@harness/suites/model/check-model

.PHONY: mutants
mutants: tests ours/um stock/um ours/debug ours/bench ours/kcsan upstream-guest ## break our code in one place at a time, and check that a test fails (30 minutes)
	@harness/suites/mutants/run-mutants.py

.PHONY: repro-free-race
repro-free-race: tests ours/debug ## show that stock returns freed memory, and our map does not (6 minutes, then 1)
	@harness/suites/repro-free-race/repro-free-race

.PHONY: upstream
upstream: upstream-guest ## run upstream's own selftests on stock and on ours (40 minutes, then 17)
	@harness/suites/upstream/compare-upstream

.PHONY: upstream-guest
upstream-guest: trees
	@harness/packages/install qemu upstream
	@harness/kernel/build stock/upstream
	@harness/kernel/build ours/upstream
	@harness/guest/build-initramfs
	@harness/suites/upstream/build-upstream-tests

.PHONY: docs
docs: trees ## build the kernel's BPF documentation with the map's page as HTML (1 minute)
	@harness/packages/install docs
	@harness/kernel/build-docs >/dev/null

.PHONY: patch
patch: trees ## write the patch as a series: build/series/*.patch
	@harness/series/split.py

.PHONY: diff
diff: trees ## write the patch as one file for stock Linux: build/reuseport_array-VERSION.diff
	@harness/series/split.py diff

.PHONY: fixes
fixes: trees ## write fixes for Linux's own map of this type as a series: build/fixes/*.patch
	@harness/series/split.py fixes

.PHONY: check-series
check-series: trees ## check that each patch of the series applies and builds, and checkpatch
	@harness/series/check-series

.PHONY: check-fixes
check-fixes: tests ## check that each fix builds, and that its test fails without it
	@harness/packages/install qemu
	@harness/series/check-fixes

.PHONY: deb
deb: trees ## build Debian packages of our kernel; CONFIG_FILE=/boot/config-...
	@harness/packages/install deb
	@harness/kernel/build-deb $(CONFIG_FILE)

.PHONY: check-deb
check-deb: tests ## build a small kernel package and boot its kernel
	@harness/packages/install qemu deb
	@harness/checks/check-deb

.PHONY: check-arch
check-arch: MACHINE := $(or $(MACHINE),arm64)
check-arch: trees ## run the contract tests on another processor: MACHINE=arm64 or s390x
	@harness/packages/install $(MACHINE)
	@harness/guest/build-guest-programs $(MACHINE)
	@harness/guest/build-initramfs $(MACHINE)
	@harness/kernel/build ours/$(MACHINE)
	@$(RUN_CHECKS) 'harness/suites/selftests-smp $(MACHINE)' 'harness/suites/selftests-smp $(MACHINE) stress --ops 20000'

.PHONY: shell
shell: tests $(AT)ours/um ## open a shell in a guest that runs our kernel
	@harness/guest/boot $(AT)ours/um

.PHONY: setup
setup: ## install the Debian packages that are missing (needs root; lists them)
	@harness/packages/install

.PHONY: trees
trees: setup ## make the kernel trees stock, fixed, stripped and ours under build/
	@env -u BASE $(if $(AT),-u BASE_TARBALL) harness/trees/trees.py
	$(if $(AT),@harness/trees/trees.py)

.PHONY: save
save: ## write edits you made in build/ours/src back into this repository
	@harness/trees/trees.py save

# Build one kernel: make ours/um, make stock/qemu, ...
KERNELS := $(foreach c,$(patsubst harness/kernel/configs/%.config,%,$(wildcard harness/kernel/configs/*.config)),\
	$(addsuffix /$(c),$(addprefix $(AT),stock fixed stripped ours)))
.PHONY: $(KERNELS)
$(KERNELS): trees
	@case $@ in */um*) ;; */arm64) harness/packages/install arm64 ;; */s390x) harness/packages/install s390x ;; *) harness/packages/install qemu ;; esac
	@harness/kernel/build $@

.PHONY: all-guests
all-guests: tests $(GUESTS)

# Our programs for the guests, and the guests' root file system.
.PHONY: tests
tests: trees
	@harness/guest/build-guest-programs
	@harness/guest/build-initramfs

.PHONY: clean
clean: ## remove everything under build/
	@rm -rf build
