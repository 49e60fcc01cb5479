"""The comparison of clients runs, says what it has measured, and refuses what it does not know."""

from __future__ import annotations

import pytest

from bench.clients.__main__ import main


def test_it_measures_a_client(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--seconds", "0.1", "--rounds", "1", "--only", "reads, 100", "--client", "kraal"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "against kraal" in printed
    assert printed.count("| reads, 100 outstanding") == 2


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nonsense"])
    assert "there are read-one" in capsys.readouterr().err
