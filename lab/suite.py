# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""make check, make test and make regress: runs the host tests and the scenarios, and counts."""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

from lab.steps import BUILD, LOGS, LabError, SOURCE, run_logged, say

RESULTS = BUILD / "results"
HOST = BUILD / "host"
PYTEST = [sys.executable, "-m", "pytest", "-c", "lab/scenarios/pytest.ini", "--rootdir=."]
# Each worker runs a QEMU of 4 GiB on one core.
MEMORY_PER_WORKER = 6 << 30


def counts(path):
    """(passed, failed, skipped) of a JUnit XML file; one that is missing or broken has failed."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return 0, 1, 0
    failed = sum(1 for case in cases
                 if case.find("failure") is not None or case.find("error") is not None)
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    return len(cases) - failed - skipped, failed, skipped


def result_file(name):
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.xml"
    path.unlink(missing_ok=True)
    return path


def host_tests():
    """The cores' unit tests, through CMake, and the lab's own."""
    run_logged("host-configure", "configuring the host tests",
               ["cmake", "-S", SOURCE, "-B", HOST], cwd=SOURCE)
    run_logged("host-build", "building the host tests", ["cmake", "--build", HOST, "-j2"])
    host, lab = result_file("host"), result_file("lab")
    try:
        run_logged("host-tests", "running the host tests",
                   ["ctest", "--test-dir", HOST, "--output-on-failure", "--no-tests=error", "-j2",
                    "--output-junit", host])
    except LabError as error:
        say(str(error))
    subprocess.run([*PYTEST, "lab/test", "-q", f"--junit-xml={lab}"], cwd=SOURCE, check=False)
    return [host, lab]


def workers():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, 2, memory // MEMORY_PER_WORKER))


def check_pattern(pattern):
    """Refuses a pattern that selects nothing, before anything is started for it."""
    found = subprocess.run([*PYTEST, "lab/scenarios", "--collect-only", "-q", "-k", pattern],
                           cwd=SOURCE, capture_output=True, text=True, check=False)
    if found.returncode == 5:
        raise LabError(f"no scenario matches T={pattern}")
    if found.returncode:
        raise LabError(f"T={pattern} cannot be used as a pattern: " +
                       (tail_of(found.stdout + found.stderr)))
    return sum("::" in line for line in found.stdout.splitlines())


def refuse_unknown_pattern():
    pattern = os.environ.get("T")
    if not pattern:
        raise LabError("which scenarios? give T=pattern")
    check_pattern(pattern)


def tail_of(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "pytest failed"


def scenarios(pattern=None):
    command = [*PYTEST, "lab/scenarios", "-v", "--durations=10"]
    number = workers()
    if pattern:
        if check_pattern(pattern) < 4:
            number = 1
        command += ["-k", pattern]
    if number > 1:
        command += ["-n", str(number), "--dist", "loadfile"]
    path = result_file("scenarios")
    say(f"running the scenarios, {number} at a time (logs: {LOGS}/scenarios)")
    subprocess.run([*command, f"--junit-xml={path}"], cwd=SOURCE, check=False)
    return [path]


def close(files, start):
    """Prints the closing lines; tells whether all is well."""
    sums = [sum(column) for column in zip(*map(counts, files))]
    passed, failed, skipped = sums
    if skipped:
        say(f"{skipped} skipped")
    say(f"results: {', '.join(str(path) for path in files)}; {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed == 0 and passed > 0


def command(name):
    start = time.monotonic()
    if name == "regress":
        files = scenarios(os.environ["T"])
    else:
        files = host_tests()
        if name == "test":
            files += scenarios()
    return close(files, start)
