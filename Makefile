# SPDX-License-Identifier: GPL-2.0
# Everything a person does here, by name. The work is done in harness/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# BASE=6.1: another Linux than 6.12. Its trees are in build/6.1; the programs for the
# guests are those of the 6.12 tree.
AT := $(if $(filter-out 6.12,$(BASE)),$(BASE)/)

.PHONY: help
help: ## this list
	@echo 'A BPF_MAP_TYPE_REUSEPORT_SOCKARRAY for Linux. What you can make:'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | awk -F@ '{printf "  %-14s%s\n", $$1, $$2}'
	@echo
	@echo 'BASE_TARBALL=linux-6.12.y.tar.xz takes another base than Debian'"'"'s.'
	@echo 'BASE=6.1: make demo, check, shell, diff on that Linux, in build/6.1.'

.PHONY: demo
demo: tests $(AT)ours/um ## watch a server restart without losing a packet (6 minutes, then 1)
	@harness/boot -t 300 -o build/$(AT)demo $(AT)ours/um /demo/run
	@harness/demo/plot build/$(AT)demo

.PHONY: demo-servers
demo-servers: tests ours/um ## restart haproxy, nginx, nsd, unbound and ours 20 times under load, with reuseportctl and without (12 minutes)
	@harness/servers/root
	@harness/boot -t 3600 -m 2048 -f build/servers/root -o build/demo ours/um /servers/run
	@harness/servers/plot build/demo

.PHONY: check-systemd
check-systemd: tests ours/um ## run the manual page's unit under systemd and reload it under load (1 minute, beside the kernel)
	@harness/servers/systemd

.PHONY: check
check: all-guests $(if $(AT),,ours/debug ours/bench) ## every test that is not for hours (10 minutes, and 20 to build the kernels)
	@harness/check $(if $(AT),harness/contract,$(CHECKS))

.PHONY: check-deep
check-deep: all-guests ours/debug ours/bench ours/kcsan ours/rt upstream-guest ## check, and the proof in full: 5 million operations, mutants, KCSAN, PREEMPT_RT, ... (half an hour of compiling, then an hour; goes on where it was left)
	@harness/check --resume $(DEEP_CHECKS) $(CHECKS)

.PHONY: check-release
check-release: all-guests ## what a release needs besides: the series, other bases, processors and kernels, packages (3 hours; goes on where it was left)
	@harness/setup qemu source deb docs arm64 s390x 6.1
	@harness/check --resume $(RELEASE_CHECKS)

CHECKS = 'harness/check-smp debug' 'harness/check-smp debug stress' 'harness/ctl ours/um' \
	harness/contract harness/differ/run harness/model/check harness/bench/guard harness/kunit \
	harness/check-docs harness/check-bpftool harness/check-ctl
DEEP_CHECKS = harness/mutants/run 'harness/check-smp upstream stress --ops 5000000' \
	harness/upstream/run 'harness/differ/run --long' \
	'harness/check-smp kcsan' 'harness/check-smp kcsan stress --ops 20000' \
	'harness/check-smp rt' 'harness/check-smp rt stress --ops 20000' \
	'harness/check-smp upstream' 'harness/kunit run' harness/free-race/run harness/coverage
RELEASE_CHECKS = harness/series/check 'make check BASE=6.1' 'make check-arch' \
	'make check-arch MACHINE=s390x' harness/check-source harness/check-deb harness/docs \
	'env STEP=1 harness/ctl ours/um' 'env STEP=101 harness/ctl debian/6.1 debian/5.10' \
	'harness/ctl stock/um native' harness/servers/systemd

.PHONY: smp
smp: tests ours/$(or $(SMP),debug) ## contract tests and stress on two CPUs (SMP=debug, upstream, kcsan or rt)
	@harness/check 'harness/check-smp $(or $(SMP),debug)' 'harness/check-smp $(or $(SMP),debug) stress'

.PHONY: differ
differ: trees ## make 100,000 calls on stock and on ours and compare (1 minute; DIFFER=--long: 10)
	@harness/build stock/um
	@harness/build ours/um
	@harness/initramfs
	@harness/differ/run $(DIFFER)

.PHONY: ctl
ctl: all-guests ## test reuseportctl on our kernel and on stock (4 minutes; STEP=1 kills it at every system call: 20)
	@harness/ctl

.PHONY: bench
bench: bench-kernels ## count instructions beside stock, with the figures to reach (25 minutes, then 10)
	@harness/bench/run

.PHONY: bench-guard
bench-guard: ours/bench ## did a change make the map dearer? (the exact figures alone, 1 minute)
	@harness/initramfs
	@harness/bench/guard

.PHONY: bench-kernels
bench-kernels: trees
	@harness/setup qemu
	@harness/build stock/bench
	@harness/build ours/bench
	@harness/initramfs

.PHONY: check-source
check-source: trees ## sparse, W=1, checkpatch and every configuration the patch has to build in
	@harness/setup source
	@harness/check-source

.PHONY: kunit
kunit: tests ours/um ours/debug ## run the KUnit tests, on UML and with KASAN and lockdep in QEMU (15 minutes, then 1)
	@harness/kunit

.PHONY: model
model: setup ## check the model of slots and sockets in every state (1 minute)
	@harness/model/check

.PHONY: mutants
mutants: tests ours/um stock/um ours/debug ours/bench ours/kcsan upstream-guest ## break our code in 61 ways, one at a time: who notices? (20 minutes, beside the kernels)
	@harness/mutants/run

.PHONY: free-race
free-race: tests ours/debug ## see stock hand out freed memory, and our map not (6 minutes, then 1)
	@harness/free-race/run

.PHONY: upstream
upstream: upstream-guest ## run upstream's own selftests, unmodified, on stock and on ours (42 minutes on a busy machine, then 17)
	@harness/upstream/run

.PHONY: upstream-guest
upstream-guest: trees
	@harness/setup qemu upstream
	@harness/build stock/upstream
	@harness/build ours/upstream
	@harness/initramfs
	@harness/upstream/build

.PHONY: docs
docs: trees ## build the map's page as HTML, with the BPF documentation around it (1 minute)
	@harness/setup docs
	@harness/docs >/dev/null

.PHONY: patch
patch: trees ## the patch as a series to send: build/series/*.patch
	@harness/series/split.py

.PHONY: diff
diff: trees ## the patch in one piece, for Linux as it is: build/reuseport_array-VERSION.diff
	@harness/series/split.py diff

.PHONY: check-series
check-series: trees ## apply the series, build each step of it, read it
	@harness/series/check

.PHONY: deb
deb: trees ## Debian packages of our kernel, to install; CONFIG_FILE=/boot/config-...
	@harness/setup deb
	@harness/deb $(CONFIG_FILE)

.PHONY: check-deb
check-deb: tests ## build a small package and boot what is in it
	@harness/setup qemu deb
	@harness/check-deb

.PHONY: check-arch
check-arch: MACHINE := $(or $(MACHINE),arm64)
check-arch: trees ## the contract tests on another processor: MACHINE=arm64 or s390x
	@harness/setup $(MACHINE)
	@harness/programs $(MACHINE)
	@harness/initramfs $(MACHINE)
	@harness/build ours/$(MACHINE)
	@harness/check 'harness/check-smp $(MACHINE)' 'harness/check-smp $(MACHINE) stress --ops 20000'

.PHONY: shell
shell: tests $(AT)ours/um ## a shell in a guest that runs our kernel
	@harness/boot $(AT)ours/um

.PHONY: setup
setup: ## install the Debian packages that are missing (needs root; says which)
	@harness/setup $(BASE:6.12=)

.PHONY: trees
trees: setup ## lay the kernel trees stock, stripped and ours under build/
	@env -u BASE $(if $(AT),-u BASE_TARBALL) harness/trees.py
	$(if $(AT),@harness/trees.py)

.PHONY: save
save: ## write edits you made in build/ours/src back into this repository
	@harness/trees.py save

# A kernel: make ours/um, make stock/qemu, ...
KERNELS := $(foreach c,$(patsubst harness/configs/%.config,%,$(wildcard harness/configs/*.config)),\
	$(addsuffix /$(c),$(addprefix $(AT),stock stripped ours)))
.PHONY: $(KERNELS)
$(KERNELS): trees
	@case $@ in */um*) ;; */arm64) harness/setup arm64 ;; */s390x) harness/setup s390x ;; *) harness/setup qemu ;; esac
	@harness/build $@

.PHONY: all-guests
all-guests: tests
	@harness/build $(AT)ours/um
	@harness/build $(AT)stock/um
	@harness/build $(AT)stripped/um

# Our programs for the guests, and the root file system that carries them.
.PHONY: tests
tests: trees
	@harness/programs
	@harness/initramfs

.PHONY: clean
clean: ## remove everything under build/
	@rm -rf build
