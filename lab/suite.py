# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""make check, test, regress and compare: runs the host tests and the scenarios, and counts."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

from lab import hosttools, report, results, ssh
from lab.guest import GuestKernel
from lab.qemu import xen_image
from lab.steps import BUILD, LOGS, LabError, RESULTS, SOURCE, run_logged, say

HOST = BUILD / "host"
PYTEST = [sys.executable, "-m", "pytest", "-c", "lab/scenarios/pytest.ini", "--rootdir=."]
# Each worker runs a QEMU of 4 GiB, which touches half of that, on one core, half of the time: a guest
# that waits does so in real time.
MEMORY_PER_WORKER = 3 << 30
MOST_WORKERS = 4
END_SECONDS = 60
STAGES = {}
# What has failed though its results show no failure.
BROKEN = []


@contextlib.contextmanager
def stage(name):
    start = time.monotonic()
    try:
        yield
    finally:
        STAGES[name] = time.monotonic() - start


def result_file(name, folder=RESULTS):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.xml"
    path.unlink(missing_ok=True)
    return path


def judge(path, why):
    """Counts a run that failed, although its results show no failure."""
    if why and not results.counts(path)[1]:
        say(f"{path.stem}: {why}, and the results show no failure")
        BROKEN.append(path)


def run_pytest(arguments, path, **environment):
    """Runs pytest; one that is interrupted gets the time to clean up."""
    process = subprocess.Popen([*PYTEST, *arguments, f"--junit-xml={path}"], cwd=SOURCE,
                               env={**os.environ, **environment})
    try:
        process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    judge(path, f"pytest ended with {process.returncode}" if process.returncode else None)


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
            judge(host, "ctest failed")
    fuzz = result_file("fuzz")
    with stage("fuzz targets"):
        try:
            hosttools.check_fuzz(fuzz)
        except LabError as error:
            say(str(error))
    with stage("lab's own tests"):
        run_pytest(["lab/test", "-q"], lab)
    return [host, fuzz, lab]


def on_a_host():
    return (os.environ.get("TARGET") or "qemu") != "qemu"


def workers():
    if on_a_host():
        return 1  # Somebody's host is one machine.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(2 * (os.cpu_count() or 1), MOST_WORKERS, memory // MEMORY_PER_WORKER))


def distribution(most, names=None):
    """How many workers run these scenarios, and what they share out. Those of a file share guests, and a
    few are not worth another machine; in a run of hours neither counts."""
    if os.environ.get("SOAK"):
        return min(most, len(names or range(most))), "load"
    return 1 if names and len(names) < 4 else most, "loadfile"


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


def refuse_bad_settings():
    """One line about what is not there, before anything is built for it."""
    if on_a_host():
        ssh.SshHost("ssh-check", os.environ["TARGET"])
    elif os.environ.get("XEN"):
        xen_image(os.environ["XEN"])
    if (os.environ.get("GUEST") or "debian") != "debian":
        GuestKernel(os.environ["GUEST"], os.environ.get("GUEST_INITRD"))
    if not (os.environ.get("SEED") or "0").isdecimal():
        raise LabError(f"SEED={os.environ['SEED']}: give a number")


def tail_of(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "pytest failed"


def scenarios(pattern=None, subfolder="", **environment):
    """Runs scenarios, all or those of a pattern; returns the JUnit XML file."""
    if on_a_host():
        ssh.refuse_unfit_host(os.environ["TARGET"])
    command = ["lab/scenarios", "-v", "--durations=10"]
    names = None
    if pattern:
        names = selected(pattern)
        if any("test_hostile.py::" in line for line in names):
            build_host()
        command += ["-k", pattern]
    number, unit = distribution(workers(), names)
    if number > 1:
        command += ["-n", str(number), "--dist", unit]
    path = result_file("scenarios", RESULTS / subfolder)
    for folder in (path.parent / "records", path.parent / "tap"):
        shutil.rmtree(folder, ignore_errors=True)
    name = os.path.join(os.environ.get("LAB_NAME") or "", subfolder)
    say(f"running the scenarios, {number} at a time (logs: {LOGS / 'scenarios' / name})")
    with stage(f"{subfolder} scenarios".strip()):
        run_pytest(command, path, **environment, LAB_NAME=name)
    return path


def close(files, start, comparison=None):
    """Writes the report and prints the closing lines; tells whether all is well."""
    passed, failed, _ = [sum(column) for column in zip(*map(results.counts, files))]
    failed += len(BROKEN)
    cases = {path.stem: results.read_with_records(path) for path in files}
    advisories = results.by_advisory(cases.get("host", []), cases.get("scenarios", []))
    if any(result.host or result.lab for result in advisories):
        say("advisories:")
        print("\n".join(results.advisory_lines(advisories)))
    path = report.write(RESULTS / "report.html", cases, advisories, STAGES, comparison)
    for line in results.skipped_lines(files):
        say(line)
    say("stages: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in STAGES.items()))
    say(f"results: {', '.join(map(str, [*files, path]))}; {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed == 0 and passed > 0


def compare(start):
    """The same scenarios with our kernel and with another, whose failures are shown and none."""
    pattern, other = os.environ.get("T"), os.environ.get("GUEST") or "debian"
    GuestKernel(other, os.environ.get("GUEST_INITRD"))
    theirs = scenarios(pattern, "compared", GUEST=other)
    passed, failed, _ = results.counts(theirs)
    if BROKEN or not passed:
        raise LabError(f"GUEST={other}: {passed} scenarios passed, {failed} failed, which is "
                       f"nothing to compare with; see {theirs}")
    for name in ("GUEST", "GUEST_INITRD"):
        os.environ.pop(name, None)
    ours = scenarios(pattern)
    names = ("ours", f"GUEST={other}")
    rows = results.compare(results.read(ours) or [], results.read_with_records(theirs))
    say(f"{names[1]}: {passed} passed, {failed} failed; both, scenario by scenario:")
    print("\n".join(results.comparison_lines(rows, names)))
    return close([ours], start, (names, rows))


def command(name):
    start = time.monotonic()
    if name == "compare":
        return compare(start)
    if name != "check":
        GuestKernel(os.environ.get("GUEST"), os.environ.get("GUEST_INITRD"))
        refuse_bad_settings()
    if name == "regress":
        files = [scenarios(os.environ["T"])]
    else:
        files = host_tests()
        if name == "test":
            files.append(scenarios())
    return close(files, start)
