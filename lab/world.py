# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What a scenario is given: a dom0 from the snapshot, and guests in it.

Booting a guest costs most of a minute, so scenarios that leave it usable share one: guest()
returns the running one if it was made with the same settings. A scenario that fails takes the
whole machine with it; the next one starts from the snapshot again.
"""

import os

from lab.guest import Guest, GuestKernel
from lab.leaks import LeakWatch
from lab.logs import LogWatch
from lab.qemu import Lab
from lab.ssh import SshHost
from lab.steps import LOGS, LabError

BRIDGE = "xenbr0"
SECOND = {"name": "xendemo2", "disk": ["phy:/dev/vdc,xvda1,w"],
          "vif": [f"mac=00:16:3e:77:00:02,bridge={BRIDGE}"]}


def target(name):
    """The machine under test: a dom0 in QEMU, or somebody's Xen host."""
    where = os.environ.get("TARGET") or "qemu"
    return Lab(name, os.environ.get("XEN") or None) if where == "qemu" else SshHost(name, where)


class World:
    def __init__(self, name):
        self.lab = target(name)
        self.kernel = GuestKernel(os.environ.get("GUEST") or None,
                                  os.environ.get("GUEST_INITRD") or None)
        self.guests = {}
        self.logs = None
        self.leaks = None

    @property
    def dom0(self):
        if not self.lab.running:
            dom0 = self.lab.start()
            self.kernel.install(dom0)
            self.logs = LogWatch(dom0)
            self.leaks = LeakWatch(dom0, self.logs.census)
        return self.lab.dom0

    def make(self, **settings):
        """A new guest that is not started, after those that run under the same name are gone."""
        dom0 = self.dom0
        name = settings.get("name", "xendemo")
        self.drop(name)
        guest = Guest(dom0, {**self.kernel.settings(), **settings})
        self.guests[name] = guest
        return guest

    def boot(self, **settings):
        """A guest of one's own, logged in."""
        return self.make(**settings).boot()

    def guest(self, **settings):
        """A guest that is shared with other scenarios, logged in."""
        wanted = {**self.kernel.settings(), **settings}
        guest = self.guests.get(settings.get("name", "xendemo"))
        if guest and self.lab.running and guest.settings == wanted and guest.console \
                and guest.console.rc is None:
            return guest
        return self.boot(**settings)

    def drop(self, name):
        """Ends a guest in good order, so that its file system is clean for the next."""
        guest = self.guests.pop(name, None)
        if guest is None or guest.domid() is None:
            return
        try:
            guest.shut_down(60)
        except LabError:
            guest.destroy()

    def new_logs(self):
        """What was logged since the last call, by log."""
        return self.logs.read() if self.lab.running and self.logs else {}

    def new_leaks(self):
        """What was not given back since the last call; follows new_logs(), which took the census."""
        if not (self.lab.running and self.leaks):
            return []
        return self.leaks.check(self.logs.census, set(self.guests))

    def measure(self):
        """The last census in figures, for the report's plots."""
        census = self.leaks.last if self.leaks else None
        if census is None:
            return {}
        return {"free": census.free, "grants": sum(census.mapped.values()),
                "ports": sum(census.ports.values()), "guests": len(census.guests())}

    def reset(self):
        """Ends the machine; the next use of dom0 starts a new one from the snapshot."""
        self.guests = {}
        self.logs = self.leaks = None
        self.lab.stop(clean=False)

    def keep(self, scenario, texts):
        """Writes a scenario's part of all logs to one file."""
        path = LOGS / "scenarios" / os.environ.get("LAB_NAME", "") / f"{scenario}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"===== {name}\n{text}\n" for name, text in texts.items()))
        return path
