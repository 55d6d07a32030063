#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# usage: mutate.sh PATCH-PROGRAM SOURCE-ROOT PATCH TREE
# Makes TREE a copy of the cores with the patch applied. Headers are symbolic links, so that a change
# of one is seen; sources are not, because make compares their times with the patch's.
set -eu
program=$1 root=$2 patch=$3 tree=$4

rm -rf "$tree"
mkdir -p "$tree"
cp -as "$root/hypercall" "$root/drivers" "$tree"
find "$tree" -name '*.cc' | while read -r file; do
    cp --remove-destination "$root/${file#"$tree"/}" "$file"
done
for file in $(sed -n 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$patch"); do
    cp --remove-destination "$root/$file" "$tree/$file"
done
if ! said=$("$program" -d "$tree" -p1 --batch --quiet --no-backup-if-mismatch <"$patch" 2>&1); then
    rm -rf "$tree"
    echo "$patch does not apply: $said" >&2
    exit 1
fi
