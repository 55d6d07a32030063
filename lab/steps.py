# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Build steps: progress on the terminal, a log per step, and a stamp so that none runs twice.

A step names its inputs. Their hash is its stamp; while the stamp and the outputs are there, the
step is skipped. Outputs are made under a temporary name and renamed, so an interrupted step
leaves nothing that a later run could take for finished.
"""

import fcntl
import hashlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD") or SOURCE / "build").resolve()
LOGS = BUILD / "logs"
# A run inside of a run, as some scenarios are, has results of its own.
RESULTS = BUILD / "results" / (os.environ.get("LAB_NAME") or "")
RECORDS = RESULTS / "records"
CACHE = BUILD / "cache"
IMAGES = BUILD / "images"
STAMPS = IMAGES / "stamps"
PROGRESS_SECONDS = 15
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What chooses the machine and the guest of a run, and belongs to a command that repeats one.
CHOICES = ("GUEST", "GUEST_INITRD", "XEN", "TARGET", "BRIDGE", "DISKS", "SSH_CONFIG")


class LabError(Exception):
    """Something a user can understand and act on; its text is the one line that is printed."""


def say(text):
    print(f"lab: {text}", flush=True)


def end(number, frame):
    """Ends the command in good order, and only once: make sends a second signal to its children."""
    for other in ENDINGS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_in_good_order():
    for number in ENDINGS:
        signal.signal(number, end)


def replay(name):
    """The command that runs a scenario again as it ran here."""
    given = [f" {choice}={shlex.quote(os.environ[choice])}" for choice in CHOICES
             if os.environ.get(choice)]
    return f"make regress T='{name}'{''.join(given)}"


def digest(items):
    """The hash of strings and of files' and directories' contents (pathlib.Path items)."""
    result = hashlib.sha256()
    for item in items:
        if not isinstance(item, pathlib.Path):
            result.update(str(item).encode() + b"\0")
            continue
        files = sorted(item.rglob("*")) if item.is_dir() else [item]
        for path in files:
            if "__pycache__" in path.parts or not path.is_file():
                continue
            result.update(f"{path.name} {path.stat().st_mode:o}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    result.update(block)
    return result.hexdigest()


def tail(path, lines=15):
    try:
        text = path.read_text(errors="replace").replace("\r", "\n")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def stop_group(process):
    """Ends a process that leads its own group, and everything in the group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
            return
        except ProcessLookupError:
            process.wait()
            return
        except (PermissionError, subprocess.TimeoutExpired):
            continue


def run_logged(name, what, command, **options):
    """Runs a command with its output in build/logs/NAME.log, and shows that it is alive."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{name}.log"
    say(f"{name}: {what} (log: {path})")
    start = shown = time.monotonic()
    with open(path, "ab") as log:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT,
                                   start_new_session=True, **options)
        try:
            while process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() - shown >= PROGRESS_SECONDS:
                    shown = time.monotonic()
                    last = tail(path, 1).strip()[:70]
                    say(f"{name}: {shown - start:.0f} s, {last}")
        except BaseException:
            stop_group(process)
            raise
    if process.returncode:
        print(tail(path), file=sys.stderr)
        raise LabError(f"{name}: {what} failed after {time.monotonic() - start:.0f} s; see {path}")


def step(name, inputs, outputs, make):
    """Calls make(TEMPORARY_PATHS...) unless the outputs exist and were made of these inputs."""
    STAMPS.mkdir(parents=True, exist_ok=True)
    with open(STAMPS / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return locked_step(name, inputs, outputs, make)


def locked_step(name, inputs, outputs, make):
    stamp = STAMPS / name
    wanted = digest(inputs)
    if stamp.exists() and stamp.read_text() == wanted and all(x.exists() for x in outputs):
        return False
    stamp.unlink(missing_ok=True)
    (LOGS / f"{name}.log").unlink(missing_ok=True)
    temporary = [x.with_name(x.name + ".new") for x in outputs]
    for path in [*temporary, *outputs]:
        path.parent.mkdir(parents=True, exist_ok=True)
    for path in temporary:
        remove(path)
    start = time.monotonic()
    try:
        make(*temporary)
    except BaseException:
        for path in temporary:
            remove(path)
        raise
    for path, final in zip(temporary, outputs):
        remove(final)
        path.rename(final)
    stamp.write_text(wanted)
    say(f"{name}: done in {time.monotonic() - start:.0f} s")
    return True


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def as_root(command):
    """The command, through sudo where this is not root; checked before anything is started."""
    if os.geteuid() == 0:
        return command
    if shutil.which("sudo"):
        return ["sudo", *command]
    raise LabError("debootstrap needs root, and there is no sudo")
