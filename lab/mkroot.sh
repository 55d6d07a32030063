#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Builds a Debian root file system as an ext4 image; run as root, because debootstrap needs chroot.
#   mkroot.sh KIND MIRROR CACHE WORKDIR IMAGE SIZE MODULES PACKAGE,PACKAGE...
# KIND is a directory below lab/rootfs that is copied over the root, and may hold a setup script,
# which runs in the chroot and is then removed. MODULES is a /lib/modules tree to copy, or "none".
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kind=$1 mirror=$2 cache=$3 work=$4 image=$5 size=$6 modules=$7 packages=$8
root=$work/$kind-root

rm -rf --one-file-system "$root"
mkdir -p "$root" "$cache"
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase --cache-dir="$cache" --include="$packages" bookworm "$root" "$mirror"

cp -a "$here/rootfs/$kind/." "$root/"
chown -R 0:0 "$root/root"
if [ -x "$root/setup" ]; then
    chroot "$root" /setup
    rm "$root/setup"
fi
[ "$modules" = none ] || cp -a "$modules" "$root/usr/lib/"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man \
       "$root"/usr/share/locale "$root"/var/log/*.log
echo "building the file system"
mke2fs -q -F -t ext4 -L "$kind" -E root_owner=0:0 -d "$root" "$image" "$size"
[ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:$SUDO_GID" "$image"
