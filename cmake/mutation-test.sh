#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# usage: mutation-test.sh PROGRAM GTEST_FILTER [PROGRAM GTEST_FILTER]...
# Passes if each of these fails: by an assertion, a sanitizer or the simulator.
set -u

die() {
    echo "$1" >&2
    exit 1
}

while [ $# -ge 2 ]; do
    program=$1 filter=$2
    shift 2
    "$program" --gtest_list_tests --gtest_filter="$filter" | grep -q '^  ' ||
        die "$filter selects no test of $program"
    said=$("$program" --gtest_filter="$filter" 2>&1)
    status=$?
    [ "$status" -ne 0 ] || die "nobody noticed: $program --gtest_filter='$filter' passes"
    verdict=$(printf '%s\n' "$said" |
        grep -m 1 -e '^\[  FAILED  \]' -e '^SUMMARY: .*Sanitizer' -e 'runtime error:' -e '^sim: ')
    [ -n "$verdict" ] || die "$program --gtest_filter='$filter' ended with $status, but not by a test:
$said"
    echo "noticed: $verdict"
done
