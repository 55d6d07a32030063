# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Programs of the lab's own that run in dom0 and in guests: how they are built."""

import os
import subprocess

from lab.steps import BUILD, SOURCE

FLAGS = {
    "entry": ["-O1"],
    "entry32": ["-O1", "-m32", "-ffreestanding", "-fno-exceptions", "-fno-pic",
                "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-nostdlib", "-static"],
    "heartbeat": ["-O2", "-static", "-s"],
    "mapping": ["-O2", "-static", "-s"],
    "oracle": ["-O2", "-static", "-s"],
    "vchan": ["-O2", "-static", "-s"],
    "wire": ["-O2", "-static", "-s"],
    "xdp": ["-O2", "-static", "-s"],
}
LIBRARIES = {"vchan": ["-lxenvchan", "-lxenstore", "-lxenevtchn", "-lxengnttab", "-lxentoolcore", "-lxentoollog",
                       "-lpthread"],
             "mapping": ["-lxengnttab", "-lxentoolcore", "-lxentoollog"]}


def build(name):
    """The program's file."""
    program = BUILD / "programs" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    # Two workers may build it at once.
    temporary = program.with_name(f"{name}.{os.getpid()}")
    subprocess.run(["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", *FLAGS[name], "-o", temporary,
                    SOURCE / f"lab/programs/{name}.cc", *LIBRARIES.get(name, [])], check=True)
    return temporary.rename(program)
