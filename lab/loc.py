# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""make loc: lines without comments and blanks, ours by part, beside upstream's Xen code."""

import json
import pathlib
import subprocess
import tarfile
import tempfile

from lab.steps import BUILD, LabError, SOURCE, step

PORT_LIMIT = 3000
TARBALL = pathlib.Path("/usr/src/linux-source-6.1.tar.xz")
PARTS = ["hypercall", "drivers/blkfront", "drivers/netfront", "drivers/xenbus", "drivers/console",
         "drivers/balloon", "drivers/programs", "test-guests", "sim", "lab"]
UPSTREAM = {"arch/x86/xen": "arch/x86/xen/", "drivers/xen": "drivers/xen/",
            "xen-blkfront.c": "drivers/block/xen-blkfront.c",
            "xen-netfront.c": "drivers/net/xen-netfront.c",
            "hvc_xen.c": "drivers/tty/hvc/hvc_xen.c"}


def cloc(*arguments):
    out = subprocess.run(["cloc", "--quiet", "--json", "--force-lang=C++,cc", "--force-lang=C++,hpp",
                          *[str(word) for word in arguments]],
                         capture_output=True, text=True, check=True).stdout
    return json.loads(out)["SUM"]["code"] if out.strip() else 0


def tracked(folder, tests):
    """The files git knows below a folder; a test folder's own are counted apart."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", folder], cwd=SOURCE,
                         capture_output=True, text=True, check=True).stdout
    return [name for name in out.splitlines()
            if ("/test/" in f"/{name}") == tests and (SOURCE / name).is_file()]


def count(folder, tests=False):
    files = tracked(folder, tests)
    if not files:
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".list") as listing:
        listing.write("\n".join(str(SOURCE / name) for name in files))
        listing.flush()
        return cloc(f"--list-file={listing.name}")


def patch_lines():
    """The lines that the patches add, without blanks and comments of a line of their own."""
    lines = []
    for path in sorted((SOURCE / "patches").rglob("*.patch")):
        lines += [line[1:].strip() for line in path.read_text(errors="replace").splitlines()
                  if line.startswith("+") and not line.startswith("+++")]
    return sum(1 for line in lines if line and not line.startswith(("#!", "# ", "//", "/*", "*")))


def upstream_counts():
    """Counted once, because unpacking Linux takes half a minute."""
    status, result = TARBALL.stat(), BUILD / "upstream-loc.json"
    step("upstream-loc", [status.st_size, status.st_mtime, str(UPSTREAM)], [result],
         lambda out: out.write_text(json.dumps(count_upstream())))
    return json.loads(result.read_text())


def count_upstream():
    with tempfile.TemporaryDirectory() as folder, tarfile.open(TARBALL) as tar:
        wanted = tuple(UPSTREAM.values())
        for member in tar:
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith(wanted):
                member.name = name
                tar.extract(member, folder)
        return {label: cloc(pathlib.Path(folder) / path) for label, path in UPSTREAM.items()}


def show(label, number, note=""):
    print(f"  {label:<24}{number:>7,}{note}")


def main():
    print("lines without comments and blanks")
    port = {"arch-xen": count("arch-xen"), "patches (added)": patch_lines()}
    for label, number in port.items():
        show(label, number)
    total = sum(port.values())
    show("the port", total, f"   (limit {PORT_LIMIT:,})")
    for part in PARTS:
        tests = count(part, tests=True)
        show(part, count(part), f"   tests: {tests:,}" if tests else "")
    if TARBALL.exists():
        print("upstream, of linux-source-6.1")
        for label, number in upstream_counts().items():
            show(label, number)
    if total > PORT_LIMIT:
        raise LabError(f"arch-xen and patches have {total} lines, more than {PORT_LIMIT}")
