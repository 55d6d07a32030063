# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Every target does its own set-up; all output goes to build/.

SHELL := /bin/sh
PYTHON := /usr/bin/python3
BUILD ?= build
export BUILD GUEST GUEST_INITRD XEN T
# Nothing of Python's own is written next to the sources.
export PYTHONDONTWRITEBYTECODE := 1

LAB := $(PYTHON) -m lab.cli
# With GUEST=, another kernel is booted and ours need not be built.
GUEST_KERNEL := $(if $(GUEST),,kernel)

.PHONY: help deps kernel guests boot shell check test regress loc clean
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  GUEST=bzImage [GUEST_INITRD=file]   another guest kernel (GUEST=debian: Debian's own)"
	@echo "  XEN=file                            another hypervisor, xen or xen.gz"
	@echo "  T=pattern                           which scenarios make regress runs"

deps: ## Install the Debian packages that are needed (root or sudo)
	@lab/deps.sh

kernel: deps ## Build the guest kernel: build/kernel/bzImage
	@arch-xen/build-kernel.sh

boot: deps $(GUEST_KERNEL) ## Boot Xen, dom0 and the guest, and attach to its console
	@$(LAB) images boot

shell: deps ## A shell in dom0
	@$(LAB) images shell

clean: ## Remove everything that was built
	@rm -rf $(BUILD)
