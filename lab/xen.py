# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The hypervisor alone, built from Debian's source package with what Debian leaves out.

build/xen/shadow has shadow paging, without which no PV guest can be migrated while it runs;
build/xen/debug has assertions besides. All else is as in Debian's configuration. apt has lists and entries
of its own here: what the machine's are set to stays as it is.
"""

import os
import pathlib
import re
import shutil

from lab import images
from lab.steps import BUILD, LabError, remove, run_logged, say, step

XEN = BUILD / "xen"
APT = XEN / "apt"
SOURCE = XEN / "source"
SOURCE_PACKAGE = "xen"
SHADOW = ["CONFIG_SHADOW_PAGING=y"]
VARIANTS = {"shadow": SHADOW, "debug": [*SHADOW, "CONFIG_DEBUG=y"]}
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def source_entries():
    """deb-src lines for those of the machine's entries that are Debian's, less what it calls "Debian Backports"."""
    lines = images.command_output("apt-get", "indextargets", "--format", "$(ORIGIN)|$(SITE) $(RELEASE) $(COMPONENT)",
                                  "Created-By: Packages")
    option = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    return sorted({f"deb-src {option}{entry}" for origin, _, entry in
                   (line.partition("|") for line in lines.splitlines()) if origin == "Debian"})


def apt(program, *arguments):
    """apt-get or apt-cache that knows build/xen/apt alone."""
    options = {"Dir::Etc::SourceList": APT / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
               "Dir::State::Lists": APT / "lists", "Dir::Cache": APT / "cache",
               "APT::Sandbox::User": "root", "APT::Update::Error-Mode": "any"}
    return [program, *(f"-o{key}={value}" for key, value in options.items()), *arguments]


def version():
    """Of the hypervisor that the lab boots otherwise."""
    show = images.command_output("apt-cache", "show", "--no-all-versions", images.XEN_PACKAGE)
    return re.search(r"^Version: (.*)$", show, re.M).group(1)


def fetch(out):
    """OUT/tree, the source, and OUT/package, the hypervisor as Debian made it, for its configuration."""
    entries = source_entries()
    if not entries:
        raise LabError("apt knows no Debian archive to get Xen's source from")
    for name in ["lists/partial", "cache/archives/partial"]:
        (APT / name).mkdir(parents=True, exist_ok=True)
    (APT / "sources.list").write_text("\n".join(entries) + "\n")
    run_logged("xen-source", "asking for Debian's source packages", apt("apt-get", "update"))
    out.mkdir()
    download(out)
    run_logged("xen-source", "unpacking it",
               ["dpkg-source", "-x", next(out.glob("*.dsc")), out / "tree"])
    run_logged("xen-source", "unpacking Debian's hypervisor",
               ["dpkg-deb", "-x", images.download(images.XEN_PACKAGE), out / "package"])


def download(folder):
    """The source of the hypervisor that the lab boots, or of another of the same release: archives keep
    the packages of updates longer than their sources."""
    shown = images.command_output(*apt("apt-cache", "showsrc", SOURCE_PACKAGE))
    release = version().split(".")[:2]
    others = [known for known in re.findall(r"^Version: (.*)$", shown, re.M)
              if known.split(".")[:2] == release]
    for wanted in dict.fromkeys([version(), *others]):
        try:
            return run_logged("xen-source", f"downloading the source of Xen {wanted}",
                              apt("apt-get", "source", "--download-only",
                                  f"{SOURCE_PACKAGE}={wanted}"), cwd=folder)
        except LabError as error:
            failure = error
            say(f"xen-source: {wanted} is not to be had")
    raise failure


def compile_variant(name):
    def make(out):
        work = out.with_name(f"{name}.work")
        remove(work)
        work.mkdir()
        try:
            compile_in(work, name)
            shutil.copy(work / "xen", out)
        finally:
            remove(work)
    return make


def compile_in(work, name):
    config = work / ".config"
    debians = next((SOURCE / "package/boot").glob("*.config")).read_text()
    config.write_text("\n".join([debians, *VARIANTS[name], ""]))  # of two lines the later one counts
    # What our own make was told is none of Xen's business.
    command = ["env", "-u", "MAKEFLAGS", "nice", "make", "-C", SOURCE / "tree/xen", f"O={work}",
               f"-j{os.cpu_count()}"]
    run_logged(f"xen-{name}", "configuring the hypervisor", [*command, "olddefconfig"])
    missing = [option for option in VARIANTS[name] if option not in config.read_text().splitlines()]
    if missing:
        raise LabError(f"this Xen has no {missing[0]}")
    run_logged(f"xen-{name}", "building the hypervisor", [*command, "build"])


def main():
    step("xen-source", [version(), *source_entries()], [SOURCE], fetch)
    source = next(SOURCE.glob("*.dsc")).name
    for name, options in VARIANTS.items():
        step(f"xen-{name}", [source, version(), *options], [XEN / name], compile_variant(name))
    say(f"XEN={XEN / 'shadow'} boots it")
