#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds the domU kernel: unpacks Debian's linux-source-6.1, removes upstream's Xen code, applies
# patches/6.1, grafts this project's folders in, configures, and builds. Steps whose input is
# unchanged are skipped. Everything lands in build/: linux (source), kernel (objects, bzImage, vmlinux),
# logs/kernel.log.
#
# build-kernel.sh --module   also the same kernel with the block frontend as a module, and that, in
#                            build/kernel-module: bzImage, xen-blkfront.ko.
# build-kernel.sh TARGET...  makes only these (arch/x86/xen/, drivers/xen/console/ …) and goes on after
#                            an error: to see what the compiler says about one folder.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
tarball=${LINUX_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
patches=$root/patches/6.1
tree=$root/build/linux
out=$root/build/kernel
log=$root/build/logs/kernel.log
stamps=$root/build/stamps/kernel

# Where each folder of the project appears in the kernel's tree.
grafts=(
    "arch/x86/xen              arch-xen"
    "arch/x86/xen-hypercall    hypercall"
    "arch/x86/include/asm/xen  arch-xen/include/asm/xen"
    "include/xen               arch-xen/include/xen"
    "drivers/xen               drivers"
)

say() { printf 'kernel: %s\n' "$*"; }
die() { printf 'kernel: %s\n' "$*" >&2; exit 1; }

# One digest for a list of files: names and contents.
digest() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }

unpack() {
    [ -r "$tarball" ] || die "no $tarball: apt-get install linux-source-6.1"
    local want
    want="$(stat -c '%s %Y' "$tarball") $(digest "$patches"/{deleted,series,*.patch}) ${grafts[*]}"
    [ "$(cat "$stamps/unpack" 2>/dev/null)" = "$want" ] && return
    say "unpacking $(basename "$tarball")"
    rm -rf "$tree" "$tree.new" "$out" "$stamps"/*
    mkdir -p "$tree.new"
    tar -C "$tree.new" --strip-components=1 -xf "$tarball" || die "cannot unpack $tarball"
    delete_upstream
    apply_patches
    local target source
    for graft in "${grafts[@]}"; do
        read -r target source <<<"$graft"
        ln -s "$(realpath -m --relative-to="$(dirname "$tree/$target")" "$root/$source")" \
            "$tree.new/$target"
    done
    mv "$tree.new" "$tree"
    echo "$want" >"$stamps/unpack"
}

# Leaves behind what check-image.sh looks for: the files' names and the symbols that they export.
delete_upstream() {
    local globs glob
    mapfile -t globs < <(grep -v '^#' "$patches/deleted")
    cd "$tree.new"
    for glob in "${globs[@]}"; do
        compgen -G "$glob" >/dev/null || die "patches/6.1/deleted: no $glob in the tree"
    done
    # Unquoted, for the globs.
    find ${globs[*]} -type f | sort >upstream-xen.files
    xargs grep -hoE '^EXPORT_SYMBOL(_GPL)?\([a-z_0-9]+' <upstream-xen.files |
        sed 's/.*(//' | sort -u >upstream-xen.symbols
    rm -r ${globs[*]}
    cd "$root"
}

apply_patches() {
    local name
    while read -r name; do
        say "patch $name"
        patch -d "$tree.new" -p1 -s --no-backup-if-mismatch -F0 <"$patches/$name" ||
            die "patches/6.1/$name does not apply"
    done < <(grep -v '^#' "$patches/series")
}

configure() {
    local want
    want=$(digest "$root"/{arch-xen/xen.config,arch-xen/Kconfig,drivers/Kconfig})
    [ -e "$out/.config" ] && [ "$(cat "$stamps/config" 2>/dev/null)" = "$want" ] && return
    say "configuring"
    mkdir -p "$out"
    (cd "$tree" && ARCH=x86_64 KCONFIG_CONFIG="$out/.config.new" \
        scripts/kconfig/merge_config.sh -n -O "$out" "$root/arch-xen/xen.config") >"$log" 2>&1 ||
        fail "the configuration failed"
    # merge_config.sh prints what did not take effect, and succeeds.
    if grep -q '^Value requested for' "$log"; then
        awk '/^Requested value:/ { sub(/^[^:]*: */, ""); want = $0 }
             /^Actual value:/ { sub(/^[^:]*: */, ""); print "kernel: xen.config: " want \
                 " did not take effect" ($0 == "" ? "" : " (it is: " $0 ")") }' "$log" >&2
        die "arch-xen/xen.config asks for what the kernel does not offer"
    fi
    cmp -s "$out/.config.new" "$out/.config" || cp "$out/.config.new" "$out/.config"
    rm "$out/.config.new"
    echo "$want" >"$stamps/config"
}

fail() {
    {
        grep -E '([Ee]rror: |undefined reference|C\+\+: |multiple definition)' "$log" | head -30 ||
            tail -20 "$log"
        echo "kernel: $1; the log is $log"
    } >&2
    exit 1
}

# Runs make and shows that it lives: on a terminal one line that changes, else a line now and then.
run_make() {
    local began=$SECONDS shown=0 line
    nice make "$@" >"$log" 2>&1 &
    local pid=$!
    trap '{ kill "$pid"; wait "$pid"; } 2>/dev/null || die interrupted' INT TERM HUP
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        line="building: $((SECONDS - began)) s, $(grep -cE '^  (CC|CXX|AS) ' "$log" || true) objects"
        if [ -t 1 ]; then
            printf '\rkernel: %s ' "$line"
        elif [ $((SECONDS - shown)) -ge 20 ]; then
            [ "$shown" = 0 ] || say "$line"
            shown=$SECONDS
        fi
    done
    [ -t 1 ] && echo
    trap - INT TERM HUP
    wait "$pid" || fail "the build failed"
    say "$line, log $log"
}

build() {
    local cache=()
    if command -v ccache >/dev/null; then
        export CCACHE_DIR=${CCACHE_DIR:-$root/build/ccache}
        cache=(CC="ccache gcc" CXX="ccache g++" HOSTCC="ccache gcc")
    fi
    export KBUILD_BUILD_USER=proxenos KBUILD_BUILD_HOST=proxenos KBUILD_BUILD_VERSION=1
    KBUILD_BUILD_TIMESTAMP=$(LC_ALL=C date -u -d "@$(stat -c %Y "$tarball")")
    export KBUILD_BUILD_TIMESTAMP
    run_make -C "$tree" O="$out" ARCH=x86_64 -j"$(nproc)" "${cache[@]}" "$@"
}

build_kernel() {
    local inputs=("$root"/{arch-xen,hypercall,drivers} "$out/.config")
    if [ -e "$out/bzImage" ] && [ -e "$stamps/build" ] &&
        [ -z "$(find "${inputs[@]}" -newer "$stamps/build" -print -quit)" ]; then
        say "unchanged: $out/bzImage"
        return
    fi
    touch "$stamps/build.new"
    build vmlinux bzImage
    ln -sf arch/x86/boot/bzImage "$out/bzImage"
    mv "$stamps/build.new" "$stamps/build"
    say "$(stat -Lc '%n, %s bytes' "$out/bzImage")"
}

# In the same place, because it costs two more links there, and elsewhere everything.
build_module() {
    local copy=$root/build/kernel-module
    if [ "$copy/xen-blkfront.ko" -nt "$stamps/build" ]; then
        say "unchanged: $copy/xen-blkfront.ko"
        return
    fi
    rm "$stamps"/{config,build} # until the end, $out is not what they say
    "$tree/scripts/config" --file "$out/.config" --module XEN_BLKDEV_FRONTEND
    build vmlinux bzImage modules
    mkdir -p "$copy"
    cp -L "$out"/{bzImage,drivers/xen/blkfront/xen-blkfront.ko} "$copy"
    configure
    build_kernel
    touch "$copy/xen-blkfront.ko"
}

main() {
    mkdir -p "$(dirname "$log")" "$stamps"
    exec 9>"$root/build/kernel.lock"
    flock -n 9 || { say "waiting for another build"; flock 9; }
    unpack
    configure
    case ${1:-} in
    '') build_kernel ;;
    --module)
        build_kernel
        build_module
        ;;
    *) build -k "$@" ;;
    esac
}

main "$@"
