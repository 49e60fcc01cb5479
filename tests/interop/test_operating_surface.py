"""All that operators can ask, beside Apache ZooKeeper in every role and under the same load."""

from __future__ import annotations

import pytest

from kraal.admin.catalogue import CATALOGUE
from tests.interop.operating_surface import ROLES, Row, captured

pytestmark = [pytest.mark.apache, pytest.mark.timeout(240)]
IDLE = {metric.name for metric in CATALOGUE if metric.is_idle}

Surface = tuple[list[Row], dict[str, list[str]]]


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> Surface:
    return captured(tmp_path_factory.mktemp("surface"))


def test_nothing_is_missing_but_what_only_a_virtual_machine_has(surface: Surface) -> None:
    rows, _ = surface
    assert {row.role for row in rows} == set(ROLES)
    assert len(rows) == 4 * 38
    assert {(row.role, row.surface): row.missing for row in rows if row.missing} == {}


def test_values_are_of_the_same_types(surface: Surface) -> None:
    rows, _ = surface
    assert {(row.role, row.surface): row.other_types for row in rows if row.other_types} == {}


@pytest.mark.parametrize("role", ROLES)
def test_what_counts_there_counts_here_unless_it_is_said_to_stay_0(
    surface: Surface, role: str
) -> None:
    _, zero = surface
    assert set(zero[role]) <= IDLE
