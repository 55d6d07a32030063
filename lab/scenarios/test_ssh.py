# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The runner on somebody's Xen host: the lab's dom0 is given to it by its ssh port alone."""

import os
import re
import subprocess

import pytest

from lab import images
from lab.qemu import Lab
from lab.steps import BUILD, SOURCE

pytestmark = pytest.mark.lab_only
SCENARIOS = "test_xl_list or test_root_is_writable or test_guest_pings_dom0 or test_port_that_is_kept"
SSH_CONFIG = """IdentityFile {0}/key
IdentitiesOnly yes
UserKnownHostsFile {0}/known_hosts
StrictHostKeyChecking accept-new
"""
# What the owner of a host would have done: an address, an ssh server that knows the key, volumes.
PREPARE = """ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh && /usr/sbin/sshd
ln -s vdb /dev/guest-one && ln -s vdc /dev/guest-two"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """(the host's dom0 by its agent, the settings by which the runner is given it)."""
    folder = tmp_path_factory.mktemp("ssh")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    (folder / "config").write_text(SSH_CONFIG.format(folder))
    with Lab("ssh-host") as lab:
        port = lab.add_network_card(":22")
        lab.dom0.run(PREPARE, check=True)
        lab.dom0.put((folder / "key.pub").read_bytes(), "/root/.ssh/authorized_keys")
        yield lab.dom0, {"TARGET": f"ssh://root@127.0.0.1:{port}",
                         "SSH_CONFIG": str(folder / "config"),
                         "DISKS": "phy:/dev/guest-one,phy:/dev/guest-two", "LAB_NAME": "ssh",
                         "GUEST": os.environ.get("GUEST") or str(images.OUR_KERNEL)}


def regress(pattern, settings):
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    return subprocess.run(["make", "--no-print-directory", "regress", f"T={pattern}"], cwd=SOURCE,
                          text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, env={**kept, **settings})


def things_of(dom0):
    """What a run could leave on a host: files, domains, processes, interfaces."""
    # ps is alone while it looks, or it would see of a pipeline what happens to have started.
    return dom0.run("ls -A /var/tmp /root /tmp /lab; xl list | awk '{print $1}'; ls /sys/class/net; "
                    "all=$(ps --ppid 2 -p 2 --deselect -o comm=); "
                    "echo \"$all\" | grep -v udev | sort -u").out


@pytest.mark.limit(600)
def test_scenarios_run_over_ssh_and_leave_the_host_as_it_was(host):
    dom0, settings = host
    before = things_of(dom0)
    result = regress(SCENARIOS, settings)
    assert re.search(r"^4 passed, 0 failed$", result.stdout, re.M), result.stdout[-6000:]
    assert result.returncode == 0
    assert (BUILD / "results/ssh/report.html").exists()
    assert things_of(dom0).splitlines() == before.splitlines()


@pytest.mark.parametrize("changes,words", [
    ({"TARGET": "ssh://root@127.0.0.1:1"}, "ssh cannot log in: .*Connection refused"),
    ({"TARGET": "telnet://host"}, "is neither qemu nor ssh://"),
    ({"BRIDGE": "nobridge"}, "there is no bridge nobridge"),
    ({"DISKS": "phy:/dev/none,phy:/dev/none"}, "there is no /dev/none"),
    ({"DISKS": "phy:/dev/vdb"}, "names 1 volumes, and 2 are needed"),
], ids=["no-server", "scheme", "bridge", "no-volume", "volumes"])
def test_host_that_does_not_do(host, changes, words):
    result = regress("test_xl_list", {**host[1], **changes})
    assert result.returncode != 0
    assert re.search(words, result.stdout), result.stdout[-3000:]
    assert "Traceback" not in result.stdout and "test session starts" not in result.stdout


@pytest.mark.limit(300)
def test_host_that_runs_such_a_domain(host):
    """The lab does not touch a domain that it did not start."""
    dom0, settings = host
    dom0.run("mkdir -p /run/blocked && printf 'name=\"xendemo\"\\ntype=\"pv\"\\nmemory=16\\n' "
             "> /run/blocked/cfg && echo kernel=\\\"/lab/held\\\" >> /run/blocked/cfg", check=True)
    dom0.put(BUILD / "test-guests/basics.elf", "/lab/held")
    dom0.run("xl create -p /run/blocked/cfg", check=True)
    result = regress("test_xl_list", settings)
    assert result.returncode != 0 and "a domain xendemo runs already" in result.stdout
    dom0.run("xl domid xendemo && xl destroy xendemo; rm -r /run/blocked /lab/held", check=True)
