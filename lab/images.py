# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What QEMU is given: Xen, dom0's kernel, initramfs and root, the guest's root and kernel.

Debian's hypervisor and kernel packages are unpacked, not installed: installing them would change
what the machine itself boots.
"""

import gzip
import os
import pathlib
import re
import shutil
import stat
import subprocess

from lab.steps import CACHE, IMAGES, BUILD, LabError, SOURCE, as_root, run_logged, say, step

LAB = SOURCE / "lab"
SUITE = "bookworm"
XEN_PACKAGE = "xen-hypervisor-4.17-amd64"
DOM0_PACKAGES = """xen-utils-4.17 xenstore-utils iproute2 bridge-utils kmod udev e2fsprogs
    dnsmasq-base ethtool iperf3 fio iputils-ping util-linux netcat-openbsd procps qemu-system-xen
    openssh-server tcpdump""".split()
GUEST_PACKAGES = """systemd systemd-sysv udev iproute2 util-linux e2fsprogs xfsprogs fio stress-ng iperf3
    iputils-ping netcat-openbsd ethtool procps login kmod""".split()
DOM0_MODULES = """virtio_pci virtio_blk virtio_net virtio_console ext4 loop bridge xenfs xen-evtchn xen-gntdev
    xen-gntalloc xen-privcmd xen-blkback xen-netback tun brd veth 8021q""".split()
DOM0_BOOT_MODULES = ["virtio_pci", "virtio_blk", "ext4"]
STAND_IN_MODULES = ["xen-blkfront", "xen-netfront", "ext4"]

XEN = IMAGES / "xen"
DEBIAN = IMAGES / "debian-kernel"
DOM0_KERNEL = DEBIAN / "vmlinuz"
DOM0_INITRD = IMAGES / "dom0.initrd"
DOM0_ROOT = IMAGES / "dom0.ext4"
GUEST_ROOT = IMAGES / "guest.ext4"
STAND_IN_INITRD = IMAGES / "stand-in.initrd"
OUR_KERNEL = BUILD / "kernel" / "bzImage"


def command_output(*command):
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        why = result.stderr.strip().splitlines() or [f"it ended with {result.returncode}"]
        raise LabError(f"{command[0]} failed: {why[-1]}")
    return result.stdout


def kernel_package():
    depends = command_output("apt-cache", "depends", "linux-image-amd64")
    match = re.search(r"linux-image-6\.1\.0-\d+-amd64", depends)
    if not match:
        raise LabError("apt knows no linux-image-6.1.0-*-amd64; is this Debian 12?")
    return match.group()


def download(package):
    """The package's .deb in build/cache, downloaded if that version is not there."""
    show = command_output("apt-cache", "show", "--no-all-versions", package)
    name = os.path.basename(re.search(r"^Filename: (.*)$", show, re.M).group(1))
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = CACHE / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        run_logged("download", f"downloading {package}",
                   ["apt-get", "download", "-o", "APT::Sandbox::User=root", package], cwd=partial)
        next(partial.glob("*.deb")).rename(path)
    return path


def make_xen(out):
    package = download(XEN_PACKAGE)
    unpacked = out.with_name("xen.deb")
    shutil.rmtree(unpacked, ignore_errors=True)
    run_logged("xen", "unpacking Debian's hypervisor", ["dpkg-deb", "-x", package, unpacked])
    out.write_bytes(gzip.decompress((unpacked / "boot/xen-4.17-amd64.gz").read_bytes()))
    shutil.rmtree(unpacked)


def make_debian_kernel(out):
    """Debian's kernel as DIR/vmlinuz and DIR/modules/VERSION with the modules used here."""
    package = download(kernel_package())
    unpacked = out.with_name("kernel.deb")
    shutil.rmtree(unpacked, ignore_errors=True)
    run_logged("debian-kernel", "unpacking Debian's kernel", ["dpkg-deb", "-x", package, unpacked])
    source = next((unpacked / "lib/modules").iterdir())
    modules = out / "lib/modules" / source.name
    modules.mkdir(parents=True)
    for path in module_files(source, DOM0_MODULES + STAND_IN_MODULES):
        (modules / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, modules / path)
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"]:
        shutil.copy(source / name, modules / name)
    run_logged("debian-kernel", "indexing its modules", ["/sbin/depmod", "-b", out, source.name])
    shutil.copy(next(unpacked.glob("boot/vmlinuz-*")), out / "vmlinuz")
    shutil.rmtree(unpacked)


def dependencies(tree):
    """modules.dep of a module tree, making it if the package came without one."""
    if not (tree / "modules.dep").exists():
        subprocess.run(["/sbin/depmod", "-b", tree.parents[2], tree.name], check=True)
    result = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        result[os.path.basename(path).removesuffix(".ko").replace("_", "-")] = (path, needs.split())
    return result


def module_files(tree, names):
    """The modules' files below tree and those that they need, in an order that can be loaded."""
    known = dependencies(tree)
    paths = []
    for name in [*names, "crc32c_generic", "crc32c-intel"]:
        path, needs = known.get(name.replace("_", "-"), (None, []))
        paths += [*reversed(needs), path] if path else []
    return list(dict.fromkeys(paths))


class Cpio:
    """Writes an initramfs in the newc format, without root: it needs a device node or two."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0]
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields)
        self.data += name.encode() + b"\0"
        self.pad()
        self.data += content
        self.pad()

    def pad(self):
        self.data += bytes(-len(self.data) % 4)

    def finish(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def initramfs(tree, modules, root, init):
    """A small initramfs: loads modules, mounts root and goes on with its init."""
    paths = module_files(tree, modules)
    script = ["#!/bin/sh", "mount -t devtmpfs dev /dev", "mount -t proc proc /proc"]
    script += [f"insmod /modules/{os.path.basename(path)}" for path in paths]
    script += [f"init={init}", "for word in $(cat /proc/cmdline); do",
               "case $word in init=*) init=${word#init=};; esac", "done"]
    script += ["n=0", f"until [ -b {root} ] || [ $n = 100 ]; do sleep 0.1; n=$((n+1)); done",
               f"mount -t ext4 -o rw {root} /root || echo 'initramfs: no root on {root}'",
               "mount -o move /dev /root/dev", "umount /proc", "exec switch_root /root $init", ""]
    archive = Cpio()
    for name in ["bin", "dev", "proc", "root", "modules"]:
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, pathlib.Path("/bin/busybox").read_bytes())
    for name in ["sh", "cat", "mount", "umount", "insmod", "sleep", "switch_root", "echo", "["]:
        archive.add(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox")
    for path in paths:
        name = f"modules/{os.path.basename(path)}"
        archive.add(name, stat.S_IFREG | 0o644, (tree / path).read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, "\n".join(script).encode())
    return gzip.compress(archive.finish(), 1, mtime=0)


def mirror():
    """The mirror that this machine's apt is set to use."""
    sites = command_output("apt-get", "indextargets", "--format", "$(SITE)",
                           "Created-By: Packages", f"Codename: {SUITE}", "Component: main")
    return (sites.split() or ["http://deb.debian.org/debian"])[0]


def make_root(kind, size, packages, modules="none"):
    def make(out):
        cache = CACHE / "debs"
        # In a mount namespace of its own nothing that debootstrap mounts can stay behind.
        own_mounts = as_root(["unshare", "--mount"])
        if subprocess.run([*own_mounts, "true"], capture_output=True, check=False).returncode:
            own_mounts = as_root([])
        run_logged(f"{kind}-root", f"installing Debian for {kind}",
                   [*own_mounts, LAB / "mkroot.sh", kind, mirror(), cache, out.parent, out, size,
                    modules, ",".join(packages)])
    return make


def debian_kernel():
    package = kernel_package()
    step("debian-kernel", [package, LAB / "images.py"], [DEBIAN], make_debian_kernel)
    return next((DEBIAN / "lib/modules").iterdir())


def build_all(stand_in=False):
    """Everything but our kernel. Each part is made once and kept until its inputs change."""
    step("xen", [XEN_PACKAGE], [XEN], make_xen)
    modules = debian_kernel()
    recipe = LAB / "mkroot.sh"
    step("dom0-root", [recipe, LAB / "rootfs/dom0", modules.name, *DOM0_PACKAGES, *DOM0_MODULES],
         [DOM0_ROOT], make_root("dom0", "1200M", DOM0_PACKAGES, modules.parent))
    step("guest-root", [recipe, LAB / "rootfs/guest", *GUEST_PACKAGES], [GUEST_ROOT],
         make_root("guest", "1500M", GUEST_PACKAGES))
    step("dom0-initrd", [LAB / "images.py", modules.name], [DOM0_INITRD],
         lambda out: out.write_bytes(
             initramfs(modules, DOM0_BOOT_MODULES, "/dev/vda", "/lab/init")))
    if stand_in:
        step("stand-in-initrd", [LAB / "images.py", modules.name], [STAND_IN_INITRD],
             lambda out: out.write_bytes(
                 initramfs(modules, STAND_IN_MODULES, "/dev/xvda1", "/sbin/init")))


def main():
    build_all(stand_in=True)
    say("images are up to date")


if __name__ == "__main__":
    main()
