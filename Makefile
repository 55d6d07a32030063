# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Every target does its own set-up; all output goes to build/.

SHELL := /bin/sh
PYTHON := /usr/bin/python3
# Absolute, because makes in other folders are handed it too.
BUILD ?= build
override BUILD := $(abspath $(BUILD))
export BUILD GUEST GUEST_INITRD XEN CONFIG T TIME TARGET BRIDGE DISKS SSH_CONFIG
# Nothing of Python's own is written next to the sources.
export PYTHONDONTWRITEBYTECODE := 1

LAB := $(PYTHON) -m lab.cli
# With GUEST=, another kernel is booted and ours need not be built.
GUEST_KERNEL := $(if $(GUEST),,kernel)

.PHONY: help deps kernel images guests backends boot shell check test regress compare fuzz corpus coverage loc xen clean
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  GUEST=bzImage [GUEST_INITRD=file]   another guest kernel (GUEST=debian: Debian's own)"
	@echo "  CONFIG=file                         another xl configuration than lab/guest.cfg"
	@echo "  XEN=file                            another hypervisor, xen or xen.gz"
	@echo "  T=pattern                           scenarios by pytest's -k, over the names of files, scenarios,"
	@echo "                                      parameters, marks (hostile, matrix, slow) and advisories:"
	@echo "                                      T=test_disk.py, T='hostile and not slow', T=XSA-396"
	@echo "  TARGET=ssh://root@host[:port]       a real Xen host for the scenarios, instead of QEMU;"
	@echo "  BRIDGE= DISKS= SSH_CONFIG=          its bridge, two volumes for guests' roots, ssh's settings"

deps: ## Install the Debian packages that are needed (root or sudo)
	@lab/deps.sh

kernel: deps ## Build the guest kernel: build/kernel/bzImage
	@arch-xen/build-kernel.sh

images: deps ## Xen, dom0 and the guest's root, as QEMU is given them
	@$(LAB) images

xen: deps ## The hypervisor with shadow paging, and with assertions: build/xen/shadow, debug
	@$(LAB) xen

boot: deps $(GUEST_KERNEL) ## Boot Xen, dom0 and the guest, and attach to its console
	@$(LAB) images boot

shell: deps ## A shell in dom0
	@$(LAB) images shell

check: deps ## The host tests alone: the cores and the lab itself
	@$(LAB) check

test: deps ## Everything that tests; the last line counts
	@$(LAB) settings
	@$(MAKE) --no-print-directory -j2 $(GUEST_KERNEL) images guests backends
	@$(LAB) images test

regress: deps ## The scenarios that match T=pattern
	@$(LAB) pattern settings
	@$(MAKE) --no-print-directory $(GUEST_KERNEL) guests backends
	@$(LAB) images regress

compare: deps ## Scenarios (T=) with our kernel and an upstream one (GUEST=debian)
	@$(LAB) $(if $(T),pattern) settings
	@$(MAKE) --no-print-directory kernel guests backends
	@GUEST=$(or $(GUEST),debian) $(LAB) images compare

guests: deps ## The test guests: build/test-guests/NAME.elf
	@$(MAKE) --no-print-directory -s -C test-guests

backends: deps ## The hostile backends for dom0: build/backends/evilback
	@$(MAKE) --no-print-directory -s -C backends

fuzz: deps ## The fuzz targets (or T=one), for TIME=seconds each
	@$(LAB) fuzz

corpus: deps ## Keep the smallest inputs that reach what make fuzz found
	@$(LAB) corpus

coverage: deps ## Line coverage of the cores: build/coverage/html/index.html
	@$(LAB) coverage

loc: deps ## Lines of code by part, beside upstream's
	@$(LAB) loc

clean: ## Remove everything that was built
	@rm -rf $(BUILD)
