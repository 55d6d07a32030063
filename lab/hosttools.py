# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""make fuzz, make corpus and make coverage: the fuzz targets, and what the host tests reach."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree

from lab.steps import BUILD, LOGS, LabError, SOURCE, run_logged, say

FUZZ = BUILD / "fuzz"
COVERAGE = BUILD / "coverage"
LONGEST_INPUT = 1024
RUNS_IN_CHECK = 1000
MINIMUM_PERCENT = 90
# A line of libFuzzer's while it runs, and what it says at its end.
PROGRESS = re.compile(r"^#(\d+)\s.*?cov: (\d+).*exec/s: (\d+)", re.M)


class Target:
    """One fuzz target: its program, the inputs that are kept, and those of this machine."""

    def __init__(self, name, corpus):
        self.name = name
        self.kept = SOURCE / corpus
        self.program = FUZZ / (self.kept.parent.parent / f"fuzz_{name}").relative_to(SOURCE)
        self.found = FUZZ / "found" / name
        self.log = LOGS / f"fuzz-{name}.log"

    def replay(self, path):
        return f"{self.program} {path}"

    def command(self, *options):
        self.found.mkdir(parents=True, exist_ok=True)
        return [self.program, f"-max_len={LONGEST_INPUT}", "-timeout=60",
                f"-artifact_prefix={FUZZ}/{self.name}-", *options]

    def run(self, *options, progress=False):
        """Fuzzes; returns the closing line, or raises with the command that repeats the crash."""
        start = shown = time.monotonic()
        with open(self.log, "wb") as log:
            process = subprocess.Popen([str(word) for word in self.command(*options)],
                                       stdout=log, stderr=subprocess.STDOUT)
            try:
                while process.poll() is None:
                    time.sleep(0.1)
                    if progress and time.monotonic() - shown >= 15:
                        shown = time.monotonic()
                        say(f"{self.name}: {shown - start:.0f} s, {self.summary()}")
            except BaseException:
                process.kill()
                process.wait()
                raise
        if process.returncode:
            written = re.findall(r"Test unit written to (\S+)", self.text())
            again = self.replay(written[0]) if written else f"see {self.log}"
            raise LabError(f"fuzz: {self.name} failed; again: {again}")
        return f"{self.name}: {time.monotonic() - start:.0f} s, {self.summary()}"

    def text(self):
        return self.log.read_text(errors="replace")

    def summary(self):
        lines = PROGRESS.findall(self.text())
        if not lines:
            return "starting"
        runs, edges, speed = lines[-1]
        return f"{runs} runs, {speed} a second, {edges} edges"


def targets(wanted=None):
    """The fuzz targets, or the one that is wanted, built."""
    (FUZZ / "targets").unlink(missing_ok=True)
    run_logged("fuzz-configure", "configuring the fuzz targets",
               ["cmake", "-S", SOURCE, "-B", FUZZ, "-DFUZZ=ON", "-DCMAKE_C_COMPILER=clang",
                "-DCMAKE_CXX_COMPILER=clang++"], cwd=SOURCE)
    known = [Target(*line.split()) for line in (FUZZ / "targets").read_text().splitlines()]
    chosen = [target for target in known if wanted in (None, "", target.name)]
    if not chosen:
        raise LabError(f"no fuzz target {wanted}; there are: "
                       f"{', '.join(sorted(target.name for target in known))}")
    run_logged("fuzz-build", "building the fuzz targets",
               ["cmake", "--build", FUZZ, "-j2", "--target",
                *(f"fuzz_{target.name}" for target in chosen)])
    return chosen


def seconds():
    text = os.environ.get("TIME") or "60"
    if not text.isdecimal() or int(text) == 0:
        raise LabError(f"TIME={text}: give a number of seconds")
    return int(text)


def run_all(chosen, run):
    """Runs every target, one line each at the end; the failures' lines by target."""
    failures = {}
    for target in chosen:
        try:
            say(run(target))
        except LabError as error:
            failures[target.name] = str(error)
            say(str(error))
    return failures


def fuzz():
    limit = seconds()
    failures = run_all(targets(os.environ.get("T")), lambda target: target.run(
        f"-max_total_time={limit}", target.found, target.kept, progress=True))
    if failures:
        raise LabError(f"failed: {', '.join(failures)}")


def check_fuzz(path):
    """A short look with a fixed seed, from what is kept, reported as JUnit XML."""
    suite = ElementTree.Element("testsuite", name="fuzz")
    chosen = targets()
    # What it finds goes into the first folder, and is not to be kept.
    with tempfile.TemporaryDirectory(dir=FUZZ) as found:
        failures = run_all(chosen, lambda target: target.run(f"-runs={RUNS_IN_CHECK}", "-seed=1",
                                                             found, target.kept))
    for target in chosen:
        case = ElementTree.SubElement(suite, "testcase", classname="fuzz", name=target.name)
        if target.name in failures:
            ElementTree.SubElement(case, "failure", message=failures[target.name])
    ElementTree.ElementTree(suite).write(path)


def corpus():
    """Keeps few inputs that reach what all inputs reach, old and new."""
    for target in targets():
        fresh = FUZZ / "kept" / target.name
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        target.run("-set_cover_merge=1", "-use_counters=0", fresh, target.found, target.kept)
        # The new ones first, so that nothing is lost when this is interrupted.
        new = {path.name for path in fresh.iterdir()}
        for name in new:
            shutil.copy(fresh / name, target.kept)
        for path in target.kept.glob("*"):
            if path.name not in new and not path.name.startswith("regression-"):
                path.unlink()
        say(f"{target.name}: {len(list(target.kept.iterdir()))} inputs")


# ---- coverage ----

def folders(report):
    """Covered and counted lines of each folder of the cores."""
    sums = {}
    files = {os.path.relpath(file["filename"], SOURCE): file["summary"]["lines"]
             for file in report["data"][0]["files"]}
    cores = [*SOURCE.glob("hypercall/*.cc"), *SOURCE.glob("drivers/*/core/*.cc")]
    left_out = {str(path.relative_to(SOURCE)) for path in cores} - files.keys()
    if left_out:
        raise LabError(f"coverage: in no host test at all: {', '.join(sorted(left_out))}")
    for path, lines in files.items():
        if not re.match(r"(hypercall/[^/]*\.cc|drivers/[^/]*/core/.*\.(cc|hpp))$", path):
            continue
        covered, count = sums.get(os.path.dirname(path), (0, 0))
        sums[os.path.dirname(path)] = covered + lines["covered"], count + lines["count"]
    return sums


def coverage():
    run_logged("coverage-configure", "configuring with coverage",
               ["cmake", "-S", SOURCE, "-B", COVERAGE, "-DSANITIZE=OFF", "-DCMAKE_C_COMPILER=clang",
                "-DCMAKE_CXX_COMPILER=clang++",
                "-DCMAKE_CXX_FLAGS=-fprofile-instr-generate -fcoverage-mapping"], cwd=SOURCE)
    run_logged("coverage-build", "building with coverage", ["cmake", "--build", COVERAGE, "-j2"])
    raw = COVERAGE / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    run_logged("coverage-tests", "running the host tests",
               ["ctest", "--test-dir", COVERAGE, "-j2", "-E", "style", "--output-on-failure"],
               env={**os.environ, "LLVM_PROFILE_FILE": f"{raw}/%8m.profraw"})
    data = COVERAGE / "tests.profdata"
    run_logged("coverage-merge", "adding up what the tests reached",
               ["llvm-profdata", "merge", "-o", data, *raw.glob("*.profraw")])
    programs = [path for path in COVERAGE.rglob("*")
                if path.is_file() and os.access(path, os.X_OK) and "CMakeFiles" not in path.parts
                and path.suffix == ""]
    objects = [word for path in programs for word in ("-object", path)][1:]
    sources = [*SOURCE.glob("hypercall/*.cc"), *SOURCE.glob("drivers/*/core")]
    html = COVERAGE / "html"
    shutil.rmtree(html, ignore_errors=True)
    common = [*objects, f"-instr-profile={data}", *sources]
    run_logged("coverage-report", "writing the report",
               ["llvm-cov", "show", "-format=html", f"-output-dir={html}", *common])
    summary = COVERAGE / "summary.json"
    run_logged("coverage-export", "counting the lines",
               ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", summary,
                "llvm-cov", "export", "-summary-only", *common])
    report = json.loads(summary.read_text())
    low = []
    for folder, (covered, count) in sorted(folders(report).items()):
        percent = 100 * covered / count
        say(f"{folder}: {covered} of {count} lines, {percent:.1f}%")
        if percent < MINIMUM_PERCENT:
            low.append(folder)
    say(f"coverage: {html}/index.html")
    if low:
        raise LabError(f"below {MINIMUM_PERCENT}% of the lines: {', '.join(low)}")
