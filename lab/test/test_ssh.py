# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What TARGET= may be, and how the lab's names become a host's."""

import pytest

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
