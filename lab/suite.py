# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""make check, test, regress and compare: runs the host tests and the scenarios, and counts."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

from lab import hosttools, report, results, ssh
from lab.steps import BUILD, LOGS, LabError, RECORDS, RESULTS, SOURCE, run_logged, say

HOST = BUILD / "host"
PYTEST = [sys.executable, "-m", "pytest", "-c", "lab/scenarios/pytest.ini", "--rootdir=."]
# Each worker runs a QEMU of 4 GiB on one core.
MEMORY_PER_WORKER = 6 << 30
STAGES = {}


@contextlib.contextmanager
def stage(name):
    start = time.monotonic()
    try:
        yield
    finally:
        STAGES[name] = time.monotonic() - start


def result_file(name):
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.xml"
    path.unlink(missing_ok=True)
    return path


def build_host():
    with stage("host build"):
        run_logged("host-configure", "configuring the host tests",
                   ["cmake", "-S", SOURCE, "-B", HOST], cwd=SOURCE)
        run_logged("host-build", "building the host tests", ["cmake", "--build", HOST, "-j2"])


def host_tests():
    """The cores' unit tests, through CMake, and the lab's own."""
    build_host()
    host, lab = result_file("host"), result_file("lab")
    with stage("host tests"):
        try:
            run_logged("host-tests", "running the host tests",
                       ["ctest", "--test-dir", HOST, "--output-on-failure", "--no-tests=error", "-j2",
                        "--output-junit", host])
        except LabError as error:
            say(str(error))
    fuzz = result_file("fuzz")
    with stage("fuzz targets"):
        try:
            hosttools.check_fuzz(fuzz)
        except LabError as error:
            say(str(error))
    with stage("lab's own tests"):
        subprocess.run([*PYTEST, "lab/test", "-q", f"--junit-xml={lab}"], cwd=SOURCE, check=False)
    return [host, fuzz, lab]


def on_a_host():
    return (os.environ.get("TARGET") or "qemu") != "qemu"


def workers():
    if on_a_host():
        return 1  # Somebody's host is one machine.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, 2, memory // MEMORY_PER_WORKER))


def selected(pattern):
    """The scenarios that a pattern selects; refuses one that selects nothing."""
    found = subprocess.run([*PYTEST, "lab/scenarios", "--collect-only", "-q", "-k", pattern],
                           cwd=SOURCE, capture_output=True, text=True, check=False)
    names = [line for line in found.stdout.splitlines() if "::" in line]
    if found.returncode == 5 or (found.returncode == 0 and not names):
        raise LabError(f"no scenario matches T={pattern}")
    if found.returncode:
        raise LabError(f"T={pattern} cannot be used as a pattern: " +
                       (tail_of(found.stdout + found.stderr)))
    return names


def refuse_unknown_pattern():
    pattern = os.environ.get("T")
    if not pattern:
        raise LabError("which scenarios? give T=pattern")
    selected(pattern)


def tail_of(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "pytest failed"


def scenarios(pattern=None, name="scenarios", **environment):
    """Runs scenarios, all or those of a pattern; returns the JUnit XML file."""
    if on_a_host():
        ssh.refuse_unfit_host(os.environ["TARGET"])
    command = [*PYTEST, "lab/scenarios", "-v", "--durations=10"]
    number = workers()
    if pattern:
        names = selected(pattern)
        if any("test_hostile.py::" in line for line in names):
            build_host()
        if len(names) < 4:
            number = 1
        command += ["-k", pattern]
    if number > 1:
        command += ["-n", str(number), "--dist", "loadfile"]
    path = result_file(name)
    for folder in (RECORDS, RESULTS / "tap"):
        shutil.rmtree(folder, ignore_errors=True)
    say(f"running the scenarios, {number} at a time (logs: {LOGS}/scenarios)")
    with stage(name):
        subprocess.run([*command, f"--junit-xml={path}"], cwd=SOURCE, check=False,
                       env={**os.environ, **environment})
    return path


def close(files, start, comparison=None):
    """Writes the report and prints the closing lines; tells whether all is well."""
    passed, failed, skipped = [sum(column) for column in zip(*map(results.counts, files))]
    cases = {path.stem: results.read(path, RECORDS) or [] for path in files}
    advisories = results.by_advisory(cases.get("host", []), cases.get("scenarios", []))
    if any(result.host or result.lab for result in advisories):
        say("advisories:")
        print("\n".join(results.advisory_lines(advisories)))
    path = report.write(RESULTS / "report.html", cases, advisories, STAGES, comparison)
    if skipped:
        say(f"{skipped} skipped")
    say("stages: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in STAGES.items()))
    say(f"results: {', '.join(map(str, [*files, path]))}; {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed == 0 and passed > 0


def compare(start):
    """The same scenarios with our kernel and with another. What that fails is shown and no failure."""
    pattern, other = os.environ.get("T"), os.environ.get("GUEST") or "debian"
    theirs = scenarios(pattern, "compared", GUEST=other)
    ours = scenarios(pattern, "scenarios", GUEST="")
    names = ("ours", f"GUEST={other}")
    rows = results.compare(results.read(ours) or [], results.read(theirs) or [])
    passed, failed, _ = results.counts(theirs)
    say(f"{names[1]}: {passed} passed, {failed} failed; both, scenario by scenario:")
    print("\n".join(results.comparison_lines(rows, names)))
    return close([ours], start, (names, rows))


def command(name):
    start = time.monotonic()
    if name == "compare":
        return compare(start)
    if name == "regress":
        files = [scenarios(os.environ["T"])]
    else:
        files = host_tests()
        if name == "test":
            files.append(scenarios())
    return close(files, start)
