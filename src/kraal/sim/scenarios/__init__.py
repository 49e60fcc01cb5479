"""What applications do with the client and its recipes in simulated ensembles, by name."""

from collections.abc import Mapping

from kraal.sim.scenarios.watches import Watches
from kraal.sim.scenarios.writes import Writes
from kraal.sim.trial import Scenario

SCENARIOS: Mapping[str, type[Scenario]] = {
    "writes": Writes,
    "watches": Watches,
}
