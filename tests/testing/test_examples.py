"""The projects in `examples/` and the page for users, as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from tests.testing.pytester import ROOT, outcomes, run

PAGE = ROOT / "docs" / "testing.md"


def test_the_tests_of_the_kazoo_project_pass() -> None:
    done = run(ROOT / "examples" / "kazoo_project", "-p", "no:asyncio")
    assert outcomes(done) == {"passed": 6}, done.stdout + done.stderr


def test_the_examples_of_the_page_work(tmp_path: Path) -> None:
    """Each block of Python is a file of tests; what it does outside of them runs too."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        (tmp_path / f"test_block_{number}.py").write_text(block)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    done = run(tmp_path, "-W", "default")  # kazoo's `stop` leaves sockets to `close`
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(done).keys() <= {"passed", "warning"}, done.stdout
