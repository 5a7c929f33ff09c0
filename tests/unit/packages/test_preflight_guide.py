# SPDX-License-Identifier: Apache-2.0
"""The guide says what every finding means."""

import re
from pathlib import Path

import longshore

SOURCE = Path(longshore.__file__).parent
GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "preflight.md"
ROOMS = ("adapters/archives/*.py", "services/packages.py", "domain/archive.py")


def test_every_code_of_a_finding_stands_in_the_guide() -> None:
    text = "".join(path.read_text() for room in ROOMS for path in SOURCE.glob(room))

    codes = set(re.findall(r'code="(\w+)"|_error\(\s*"(\w+)"', text))
    found = {one or other for one, other in codes}

    assert {"import", "wheel", "size", "case", "unchecked", "handler_module"} <= found
    for code in found:
        assert f"| `{code}` |" in GUIDE.read_text(), f"docs/how-to/preflight.md does not explain {code}"
