# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""One interface to a dom0, whoever started it, and the QEMU implementation of it.

Everything rests on one primitive, spawn(): a process in dom0 with its input, output and exit
status. Scenarios see Dom0 and Process alone.
"""

import abc
import json
import pathlib
import re
import select
import shlex
import socket
import struct
import time
from typing import NamedTuple

from lab.record import RECORDER
from lab.steps import LabError


class Result(NamedTuple):
    rc: int
    out: str


def await_command(condition, seconds=10):
    """The shell's way to wait until something is so, as one command; it fails if it is not after so long."""
    return f"(for i in $(seq {seconds * 10}); do {condition} && exit 0; sleep 0.1; done; exit 1)"


class Process(abc.ABC):
    """A process in dom0. Its output collects in `output` while somebody waits for something,
    and goes to `sink`, a function, too if there is one.
    """

    def __init__(self):
        self.output = b""
        self.rc = None
        self.sink = None

    @abc.abstractmethod
    def write(self, data):
        """Sends bytes to its standard input."""

    @abc.abstractmethod
    def close_input(self):
        """Ends its standard input."""

    @abc.abstractmethod
    def kill(self, number=9):
        """Signals its process group."""

    @abc.abstractmethod
    def pump(self, timeout):
        """Waits up to timeout seconds for output or the end and takes it in."""

    def resize(self, rows, columns):
        """Tells a process on a pty the size of the user's terminal."""

    def text(self, start=0, end=None):
        return self.output[start:end].decode(errors="replace").replace("\r", "")

    def wait(self, timeout):
        """Waits for the end and returns the exit status, or None when the time is over."""
        deadline = time.monotonic() + timeout
        while self.rc is None and time.monotonic() < deadline:
            self.pump(deadline - time.monotonic())
        return self.rc

    def expect(self, pattern, timeout, start=0):
        """Waits until the output from offset start matches; returns the offset after the match."""
        deadline = time.monotonic() + timeout
        expression = re.compile(pattern.encode(), re.S)
        while True:
            match = expression.search(self.output, start)
            if match:
                return match.end()
            left = deadline - time.monotonic()
            if left <= 0 or self.rc is not None:
                why = "the process ended" if self.rc is not None else f"{timeout:.0f} s passed"
                last = self.text(start)[-1500:]
                raise LabError(f"no {pattern!r} before {why}; the last output was:\n{last}")
            self.pump(left)


class Dom0(abc.ABC):
    """A dom0 under test."""

    @abc.abstractmethod
    def spawn(self, command, pty=False, quiet=False):
        """Starts a shell command; pty gives it a terminal, quiet drops its standard error."""

    def run(self, command, timeout=60, check=False, stdin=None):
        """Runs a shell command; its output has standard error mixed in."""
        with RECORDER.step("dom0", command):
            return self.run_now(command, timeout, check, stdin)

    def run_now(self, command, timeout, check, stdin):
        process = self.spawn(command)
        if stdin is not None:
            process.write(stdin)
        process.close_input()
        if process.wait(timeout) is None:
            process.kill()
            process.wait(5)
            if check:
                raise LabError(f"dom0: {command!r} did not end in {timeout} s\n{process.text()}")
            return Result(124, process.text())
        if check and process.rc:
            raise LabError(f"dom0: {command!r} exited with {process.rc}\n{process.text()}")
        return Result(process.rc, process.text())

    def put(self, path, remote, timeout=120):
        """Copies a local file, a path or bytes, into dom0."""
        data = path if isinstance(path, bytes) else pathlib.Path(path).read_bytes()
        self.run(f"cat > {shlex.quote(remote)}", timeout, check=True, stdin=data)

    def get(self, remote, timeout=120):
        """The contents of a file in dom0."""
        process = self.spawn(f"cat {shlex.quote(remote)}", quiet=True)
        process.close_input()
        if process.wait(timeout) != 0:
            raise LabError(f"dom0: cannot read {remote}")
        return process.output

    def console(self, domain):
        """Attaches to a guest's console."""
        return self.spawn(f"exec xl console {shlex.quote(str(domain))}", pty=True)

    def address(self, bridge="xenbr0"):
        """Its IPv4 address on the guests' bridge."""
        name = self.adapt(f"bridge={bridge}").partition("=")[2]
        out = self.run(f"ip -4 -o addr show dev {name}").out
        if match := re.search(r"inet ([0-9.]+)/", out):
            return match.group(1)
        raise LabError(f"dom0 has no IPv4 address on its bridge {bridge}")

    def adapt(self, text):
        """A command or configuration in the lab's names, as this dom0 has to be given it."""
        return text

    def console_log(self, domain):
        """All that a guest of this name has written on its console, over all its lives."""
        return self.run(f"cat /var/log/xen/console/guest-{domain}.log 2>/dev/null").out


HEADER = struct.Struct(">4sIcI")
MAGIC = b"PXN1"


class AgentProcess(Process):
    def __init__(self, agent, channel):
        super().__init__()
        self.agent = agent
        self.channel = channel

    def write(self, data):
        for start in range(0, len(data), 65536):
            self.agent.send(self.channel, b"I", data[start:start + 65536])

    def close_input(self):
        self.agent.send(self.channel, b"E")

    def kill(self, number=9):
        self.agent.send(self.channel, b"K", str(number).encode())

    def resize(self, rows, columns):
        self.agent.send(self.channel, b"W", json.dumps([rows, columns]).encode())

    def pump(self, timeout):
        self.agent.pump(timeout)


class AgentDom0(Dom0):
    """A dom0 that runs lab/rootfs/dom0/lab/agent.py, reached through a connected socket."""

    def __init__(self, connection, is_alive):
        self.connection = connection
        self.is_alive = is_alive
        self.buffer = bytearray()
        self.processes = {}
        self.next_channel = 1
        self.greeting = None

    def fileno(self):
        return self.connection.fileno()

    def hello(self, timeout):
        """Waits for the agent; repeated, because an agent that is not up yet hears nothing."""
        token = struct.pack(">d", time.monotonic())
        deadline = time.monotonic() + timeout
        while self.greeting != token:
            if time.monotonic() > deadline:
                raise LabError(f"dom0 did not answer in {timeout} s")
            self.send(0, b"H", token)
            for _ in range(10):
                self.pump(0.1)
                if self.greeting == token:
                    break

    def send(self, channel, kind, payload=b""):
        data = HEADER.pack(MAGIC, channel, kind, len(payload)) + payload
        self.connection.setblocking(False)
        while data:
            try:
                data = data[self.connection.send(data):]
            except BlockingIOError:
                # Reading meanwhile keeps an agent that waits for us from waiting for ever.
                self.pump(0.05)
                select.select([], [self.connection], [], 0.05)
            except OSError as error:
                raise LabError(self.death()) from error

    def death(self):
        return self.is_alive() or "the connection to dom0 broke"

    def pump(self, timeout):
        """Takes in what the agent has sent, waiting for it for up to timeout seconds."""
        ready, _, _ = select.select([self.connection], [], [], max(0, min(timeout, 1)))
        if not ready:
            if reason := self.is_alive():
                raise LabError(reason)
            return
        try:
            data = self.connection.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise LabError(self.death())
        self.buffer += data
        self.take_frames()

    def take_frames(self):
        while len(self.buffer) >= HEADER.size:
            if self.buffer[:4] != MAGIC:
                start = self.buffer.find(MAGIC, 1)
                del self.buffer[:start if start > 0 else len(self.buffer) - 3]
                continue
            _, channel, kind, length = HEADER.unpack_from(self.buffer)
            end = HEADER.size + length
            if len(self.buffer) < end:
                return
            payload = bytes(self.buffer[HEADER.size:end])
            del self.buffer[:end]
            process = self.processes.get(channel)
            if kind == b"h":
                self.greeting = payload
            elif kind == b"O" and process:
                process.output += payload
                if process.sink:
                    process.sink(payload)
            elif kind == b"X" and process:
                process.rc = int(payload)
                del self.processes[channel]

    def spawn(self, command, pty=False, quiet=False):
        channel = self.next_channel
        self.next_channel += 1
        process = AgentProcess(self, channel)
        self.processes[channel] = process
        request = {"command": command, "pty": pty, "quiet": quiet}
        self.send(channel, b"R", json.dumps(request).encode())
        return process


def socket_pair():
    """Our end and QEMU's end of a connection that needs no path in the file system."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
