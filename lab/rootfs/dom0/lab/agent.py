# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""dom0's end of the lab's control channel, a virtio-serial port.

The host starts processes here and exchanges their input, output and exit status as frames:
magic, channel, kind, length, payload. The protocol keeps no state beyond a running process, so
that an agent restored from a snapshot can serve a host that has just been started: the first
frame a host sends is HELLO, which ends all processes of its predecessor.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios

PORT = "/dev/virtio-ports/proxenos.agent"
HEADER = struct.Struct(">4sIcI")
MAGIC = b"PXN1"


class Child:
    """A process, its channel, and what the host has sent it that it has not read yet."""

    def __init__(self, request):
        environment = dict(os.environ, **request.get("env", {}))
        self.terminal = request.get("pty", False)
        if self.terminal:
            self.out, slave = pty.openpty()
            self.into = os.dup(self.out)
            stdin = stdout = stderr = slave
        else:
            child_in, self.into = os.pipe()
            self.out, child_out = os.pipe()
            stdin, stdout = child_in, child_out
            stderr = subprocess.DEVNULL if request.get("quiet") else child_out
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", request["command"]], stdin=stdin, stdout=stdout, stderr=stderr,
            env=environment, cwd="/root", preexec_fn=self.enter, close_fds=True)
        for fd in {stdin, stdout}:
            os.close(fd)
        os.set_blocking(self.into, False)
        self.pending = b""
        self.end_of_input = False

    def enter(self):
        os.setsid()
        if self.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def close_input(self):
        if self.into is not None:
            os.close(self.into)
            self.into = None

    def feed(self):
        try:
            if self.pending:
                self.pending = self.pending[os.write(self.into, self.pending):]
        except BlockingIOError:
            pass
        except OSError:
            self.pending, self.end_of_input = b"", True
        if self.end_of_input and not self.pending:
            self.close_input()

    def resize(self, rows, columns):
        if self.terminal and self.into is not None:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.into, termios.TIOCSWINSZ, size)

    def kill(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


class Agent:
    def __init__(self, port):
        self.port = port
        self.buffer = b""
        self.children = {}

    def send(self, channel, kind, payload=b""):
        data = HEADER.pack(MAGIC, channel, kind, len(payload)) + payload
        while data:
            data = data[os.write(self.port, data):]

    def frames(self):
        """Yields the complete frames of the buffer, skipping what is no frame."""
        while True:
            start = self.buffer.find(MAGIC)
            if start < 0:
                self.buffer = self.buffer[-3:]
                return
            self.buffer = self.buffer[start:]
            if len(self.buffer) < HEADER.size:
                return
            _, channel, kind, length = HEADER.unpack_from(self.buffer)
            if len(self.buffer) < HEADER.size + length:
                return
            payload = self.buffer[HEADER.size:HEADER.size + length]
            self.buffer = self.buffer[HEADER.size + length:]
            yield channel, kind, payload

    def handle(self, channel, kind, payload):
        if kind == b"H":
            for child in self.children.values():
                child.kill(signal.SIGKILL)
            self.children = {}
            self.send(channel, b"h", payload)
            return
        if kind == b"R":
            try:
                self.children[channel] = Child(json.loads(payload))
            except OSError as error:
                self.send(channel, b"O", str(error).encode())
                self.send(channel, b"X", b"127")
            return
        child = self.children.get(channel)
        if child is None:
            return
        if kind == b"I" and child.into is not None:
            child.pending += payload
            child.feed()
        elif kind == b"E" and child.into is not None:
            child.end_of_input = True
            child.feed()
        elif kind == b"K":
            child.kill(int(payload))
        elif kind == b"W":
            child.resize(*json.loads(payload))

    def finish(self, channel, child):
        """The process has ended and its output is read: reports the exit status."""
        os.close(child.out)
        child.close_input()
        status = child.process.wait()
        del self.children[channel]
        self.send(channel, b"X", str(status if status >= 0 else 128 - status).encode())

    def read_output(self, channel, child):
        try:
            data = os.read(child.out, 65536)
        except OSError:
            data = b""
        if data:
            self.send(channel, b"O", data)
        else:
            self.finish(channel, child)

    def read_port(self):
        data = os.read(self.port, 262144)
        if not data:
            select.select([], [], [], 0.05)  # No host is connected.
            return
        self.buffer += data
        for frame in self.frames():
            self.handle(*frame)

    def serve(self):
        while True:
            outputs = {child.out: (channel, child) for channel, child in self.children.items()}
            inputs = {child.into: child for child in self.children.values()
                      if child.into is not None and child.pending}
            # A background process may hold the pipe open after the command itself has ended.
            timeout = 0.2 if self.children else None
            ready, writable, _ = select.select([self.port, *outputs], list(inputs), [], timeout)
            for fd in writable:
                inputs[fd].feed()
            for fd in ready:
                if fd == self.port:
                    self.read_port()
                elif outputs[fd][0] in self.children:
                    self.read_output(*outputs[fd])
            for channel, child in list(self.children.items()):
                if child.process.poll() is not None and not ready:
                    self.finish(channel, child)


def main():
    port = os.open(PORT, os.O_RDWR)
    # The host learns from this frame that dom0 is up.
    agent = Agent(port)
    agent.send(0, b"h", b"up")
    agent.serve()


if __name__ == "__main__":
    sys.exit(main())
