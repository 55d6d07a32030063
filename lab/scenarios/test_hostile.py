# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The host tests of each advisory, run again by its number: make regress T=hostile.

make test runs all host tests once, and leaves these out.
"""

import re
import subprocess

import pytest

from lab.advisories import ADVISORIES, host_test_names, of_host_test
from lab.steps import BUILD

pytestmark = [pytest.mark.hostile, pytest.mark.host]

ROWS = [pytest.param(row, id=row.name, marks=[
    pytest.mark.advisory(*row.names),
    *([pytest.mark.skip(reason=f"does not apply: {row.reason}")] if row.reason else [])])
    for row in ADVISORIES]


@pytest.mark.parametrize("row", ROWS)
def test_hostile(row, request):
    host = ["ctest", "--test-dir", BUILD / "host", "-R", row.pattern()]
    listed = subprocess.run([*host, "-N"], capture_output=True, text=True, check=False).stdout
    names = re.findall(r"Test +#\d+: (\S+)", listed)
    request.node.user_properties.append(("host_tests", len(names)))
    if not names:
        written = [name for name in host_test_names() if row in of_host_test(name)]
        assert not written, f"not built: {written}"
        pytest.skip("shown by scenarios alone")
    result = subprocess.run([*host, "--output-on-failure", "-j2"], capture_output=True, text=True,
                            check=False)
    assert result.returncode == 0, result.stdout[-4000:]
