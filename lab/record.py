# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What a scenario did and when: commands in dom0 and in guests, for the report's timeline."""

import contextlib
import json
import re
import time

TEXT = 300


class Recorder:
    def __init__(self):
        self.begin()

    def begin(self):
        self.start = time.time()
        self.steps = []

    @contextlib.contextmanager
    def step(self, lane, text):
        """A step that takes as long as the block; lane is who does it."""
        start, failed = time.time(), True
        try:
            yield
            failed = False
        finally:
            self.steps.append({"lane": lane, "text": str(text)[:TEXT], "failed": failed,
                               "start": round(start - self.start, 3),
                               "end": round(time.time() - self.start, 3)})

    def note(self, text):
        """What the scenario found out, in figures, though it passed."""
        with self.step("figures", text):
            pass

    def write(self, path, **more):
        path.parent.mkdir(parents=True, exist_ok=True)
        steps = sorted(self.steps, key=lambda step: step["start"])
        path.write_text(json.dumps({"start": self.start, "took": round(time.time() - self.start, 3),
                                    "steps": steps, **more}))


# The scenario that runs in this process; there is one at a time.
RECORDER = Recorder()


def file_name(nodeid):
    """A scenario's file name, for its record and its logs."""
    return re.sub(r"[^\w.-]+", "_", nodeid.rpartition("/")[2])
