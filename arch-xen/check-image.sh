#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check-image.sh [build/kernel/vmlinux]
#
# Proves that a built kernel holds nothing of upstream's Xen code: no linked object comes from a file
# that was deleted (build-kernel.sh records them), none of the symbols those files export is there.
# Also that the image has the ELF notes by which Xen's domain builder knows a PV guest.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
image=${1:-$root/build/kernel/vmlinux}
tree=$root/build/linux
objects=$(dirname "$image")/vmlinux.a
bad=0

complain() { printf 'check-image: %s\n' "$*" >&2; bad=1; }

for file in "$image" "$objects" "$tree/upstream-xen.files" "$tree/upstream-xen.symbols"; do
    [ -s "$file" ] || { echo "check-image: no $file: run make kernel" >&2; exit 1; }
done

# An object of ours may have the path of one of upstream's; its source then lies in this project.
source_of() {
    local stem=$tree/${1%.o} suffix
    for suffix in c cc S; do
        if [ -e "$stem.$suffix" ]; then
            realpath "$stem.$suffix"
            return
        fi
    done
}

# A thin archive's members are printed relative to where one stands.
linked=$(cd "$(dirname "$objects")" && ar t vmlinux.a | grep '\.o$' | sort -u)
count=0
while read -r object; do
    source=$(source_of "$object")
    case $source in
    "$tree"/*) complain "$object is linked, and upstream's: $source" ;;
    '') complain "$object is linked, and its source is gone" ;;
    *) count=$((count + 1)) ;;
    esac
done < <(grep -i xen <<<"$linked")
[ "$count" -gt 0 ] || complain "no object of this project is linked"

# Objects whose names do not say xen (drivers/pci, sound …) are found by the names of their sources.
deleted=$(sed 's/\.[cS]$/.o/' "$tree/upstream-xen.files" | sort -u)
while read -r object; do
    case $(source_of "$object") in
    "$tree"/* | '') complain "$object is linked, but was deleted" ;;
    esac
done < <(comm -12 <(echo "$linked") <(echo "$deleted"))

# These two are this port's as well, because Linux's core refers to them.
theirs=$(grep -vxE 'xen_domain_type|xen_biovec_phys_mergeable' "$tree/upstream-xen.symbols")
while read -r symbol; do
    complain "symbol of upstream's Xen code: $symbol"
done < <(comm -12 <(nm "$image" | awk '{print $NF}' | sort -u) <(echo "$theirs"))

# ENTRY, VIRT_BASE, PADDR_OFFSET, XEN_VERSION, GUEST_OS, LOADER, PAE_MODE, FEATURES, L1_MFN_VALID and
# INIT_P2M, in hexadecimal. readelf has names of its own for types 1 and 4.
notes=$(readelf -nW "$image" |
    sed -nE '/^ *Xen /{ s/.*NT_VERSION.*/1/p; s/.*GO BUILDID.*/4/p; s/.*note type: \(0x0*([0-9a-f]+)\).*/\1/p; }')
for type in 1 3 4 5 6 8 9 a d f; do
    grep -qx "$type" <<<"$notes" || complain "no Xen ELF note of type 0x$type"
done

[ "$bad" = 0 ] || exit 1
echo "check-image: $(wc -l <<<"$linked") objects, $count of them this project's, none upstream's Xen" \
    "code; $(wc -l <<<"$theirs") symbols absent; $(wc -l <<<"$notes") Xen notes"
