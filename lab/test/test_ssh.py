# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What TARGET= may be, and how the lab's names become a host's."""

import time

import pytest

from lab import ssh
from lab.ssh import SshDom0, parse_target
from lab.steps import LabError


@pytest.mark.parametrize("text,expected", [
    ("ssh://root@host", ("root@host", None)),
    ("ssh://host:2222", ("root@host", "2222")),
    ("ssh://root@[::1]:22/", ("root@::1", "22")),
])
def test_target(text, expected):
    assert parse_target(text) == expected


@pytest.mark.parametrize("text", ["ssh://", "host", "ssh://host:99999", "ssh://a b",
                                  "ssh://-oProxyCommand=x", "ssh://root@host;reboot"])
def test_bad_target(text):
    with pytest.raises(LabError, match="is neither"):
        parse_target(text)


def test_names_of_the_host():
    dom0 = SshDom0([], "host", None, {"/lab/": "/var/tmp/x/", "phy:/dev/vdb": "file:/var/tmp/x/root0",
                                      "/dev/vdb": "/var/tmp/x/root0"})
    assert dom0.adapt('kernel="/lab/k" disk=["phy:/dev/vdb,xvda1,w"]') == \
        'kernel="/var/tmp/x/k" disk=["file:/var/tmp/x/root0,xvda1,w"]'
    assert dom0.adapt("e2fsck -p /dev/vdb") == "e2fsck -p /var/tmp/x/root0"


def test_names_of_the_host_that_are_the_labs_too():
    """DISKS=phy:/dev/vdc,phy:/dev/vdd: the first guest's disk is not taken for the second's."""
    dom0 = SshDom0([], "host", None, {"phy:/dev/vdb": "phy:/dev/vdc", "/dev/vdb": "/dev/vdc",
                                      "phy:/dev/vdc": "phy:/dev/vdd", "/dev/vdc": "/dev/vdd"})
    assert dom0.adapt("phy:/dev/vdb,xvda1 phy:/dev/vdc,xvda1; e2fsck /dev/vdb /dev/vdc") == \
        "phy:/dev/vdc,xvda1 phy:/dev/vdd,xvda1; e2fsck /dev/vdc /dev/vdd"
    dom0.names["/dev/vdb2"] = "/dev/vde"
    assert dom0.adapt("/dev/vdb2 /dev/vdb") == "/dev/vde /dev/vdc", "the longer name comes first"
    assert SshDom0([], "host", None, {}).adapt("/lab/k") == "/lab/k"


def test_host_that_hangs_is_given_up(monkeypatch, tmp_path):
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(ssh, "KILL_SECONDS", 0.3)
    with open(tmp_path / "log", "wb") as log:
        dom0 = SshDom0([program], "host", log, {})
        monkeypatch.setattr(dom0, "check_connection", lambda: None)
        dom0.folder = "/var/tmp/x"
        start = time.monotonic()
        assert dom0.run_now("true", 0.3, False, None).rc == 124
    assert time.monotonic() - start < 5
