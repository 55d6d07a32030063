#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Installs the Debian packages that the build and the lab need, as root or through sudo.
# A second run with nothing missing only asks dpkg, and needs no rights.
set -u

packages="
    build-essential bc bison flex libelf-dev libssl-dev xz-utils cpio kmod ccache lz4 patch perl
    linux-source-6.1
    cmake libgtest-dev libgmock-dev libxen-dev clang clang-format clang-tidy libclang-rt-dev llvm
    python3 python3-dpkt python3-pytest python3-pytest-xdist qemu-system-x86 qemu-utils debootstrap busybox-static e2fsprogs
    cloc openssh-client git gdb
"

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
# The lab also downloads packages without installing them, so apt must know what there is.
known=$(apt-cache show xen-hypervisor-4.17-amd64 2>/dev/null)
[ -z "$missing" ] && [ -n "$known" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
elif command -v sudo >/dev/null && [ -t 0 ]; then
    sudo=sudo
else
    echo "deps: packages are missing and there is no root or sudo; install:$missing" >&2
    exit 1
fi

log=${BUILD:-build}/logs/deps.log
mkdir -p "$(dirname "$log")" || exit 1
echo "deps: apt-get update; installing:${missing:- nothing} (log: $log)"
export DEBIAN_FRONTEND=noninteractive
start=$(date +%s)
if ! { $sudo apt-get update && [ -z "$missing" ] || $sudo env DEBIAN_FRONTEND=noninteractive \
       apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    echo "deps: apt-get failed; see $log" >&2
    exit 1
fi
echo "deps: done in $(($(date +%s) - start)) s"
