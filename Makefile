# SPDX-License-Identifier: GPL-2.0
# Everything a person does here, by name. The work is done in harness/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## this list
	@echo 'A BPF_MAP_TYPE_REUSEPORT_SOCKARRAY for Linux. What you can make:'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | awk -F@ '{printf "  %-14s%s\n", $$1, $$2}'
	@echo
	@echo 'BASE_TARBALL=linux-6.12.y.tar.xz takes another base than Debian'"'"'s.'

.PHONY: demo
demo: tests ours/um ## watch a server restart without losing a packet (6 minutes, then 1)
	@harness/boot -t 300 -o build/demo ours/um /demo/run
	@harness/demo/plot build/demo

.PHONY: check
check: all-guests ## every test that fits: contract, KUnit, model, side by side with stock (22 minutes, then 2)
	@harness/check harness/contract harness/kunit harness/model/check harness/differ/run

.PHONY: differ
differ: trees ## make 100,000 calls on stock and on ours and compare (1 minute; DIFFER=--long: 10)
	@harness/build stock/um
	@harness/build ours/um
	@harness/initramfs
	@harness/differ/run $(DIFFER)

.PHONY: bench
bench: bench-kernels ## count instructions beside stock, with the figures to reach (25 minutes, then 10)
	@harness/bench/run

.PHONY: bench-guard
bench-guard: bench-kernels ## did a change make the map dearer? (the exact figures alone, 1 minute)
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
kunit: trees ## run the KUnit tests, with KASAN and lockdep (8 minutes, then 1)
	@harness/kunit

.PHONY: model
model: setup ## check the model of slots and sockets in every state (1 minute)
	@harness/model/check

.PHONY: mutants
mutants: tests ours/um-kunit ours/qemu ours/debug ## break our code in 50 ways, one at a time: who notices? (30 minutes)
	@harness/mutants/run

.PHONY: docs
docs: trees ## build the map's page as HTML, with the BPF documentation around it (1 minute)
	@harness/setup docs
	@harness/docs

.PHONY: patch
patch: trees ## the patch as a series to send: build/series/*.patch
	@harness/series/split.py

.PHONY: diff
diff: trees ## the patch in one piece, for Linux as it is: build/reuseport_array-VERSION.diff
	@harness/series/split.py diff

.PHONY: check-series
check-series: trees ## apply the series, build each step of it, read it (25 minutes, then 5)
	@harness/series/check

.PHONY: shell
shell: tests ours/um ## a shell in a guest that runs our kernel
	@harness/boot ours/um

.PHONY: setup
setup: ## install the Debian packages that are missing (needs root; says which)
	@harness/setup

.PHONY: trees
trees: setup ## lay the kernel trees stock, stripped and ours under build/
	@harness/trees.py

.PHONY: save
save: ## write edits you made in build/ours/src back into this repository
	@harness/trees.py save

# A kernel: make ours/um, make stock/qemu, ...
KERNELS := $(foreach c,$(patsubst harness/configs/%.config,%,$(wildcard harness/configs/*.config)),\
	$(addsuffix /$(c),stock stripped ours))
.PHONY: $(KERNELS)
$(KERNELS): trees
	@harness/build $@

.PHONY: all-guests
all-guests: tests
	@harness/build ours/um
	@harness/build stock/um
	@harness/build stripped/um

# Our programs for the guests, and the root file system that carries them.
.PHONY: tests
tests: trees
	@harness/programs
	@harness/initramfs

.PHONY: clean
clean: ## remove everything under build/ but the compiler's cache
	@rm -rf $(filter-out build/ccache,$(wildcard build/*))
