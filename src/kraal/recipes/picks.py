"""How a provider picks one of the instances that can be used."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar


class Pickable(Protocol):
    """What the ways to pick need to know of an instance."""

    @property
    def id(self) -> str: ...

    @property
    def payload(self) -> Any: ...


Instance = TypeVar("Instance", bound=Pickable)


class Usage(NamedTuple):
    """What is known when an instance is to be picked."""

    key: str
    """What the request is about."""
    in_flight: Mapping[str, int]
    """How often each instance is in use now, by this provider; not in there: never."""


class Pick(Protocol):
    """A way to pick; there is always at least one instance, and they are in order of their ids."""

    def __call__(self, instances: Sequence[Instance], usage: Usage, /) -> Instance: ...


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, instances: Sequence[Instance], _usage: Usage, /) -> Instance:
        chosen = next((each for each in instances if each.id > self._last), instances[0])
        self._last = chosen.id
        return chosen


class RandomPick:
    """Any of them."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()

    def __call__(self, instances: Sequence[Instance], _usage: Usage, /) -> Instance:
        return self._rng.choice(instances)


class Weighted:
    """At random, in proportion to weights; if all weights are 0, any of them.

    A `weight(payload)` below 0 is a ValueError of whoever picks.
    """

    def __init__(self, weight: Callable[[Any], float], rng: random.Random | None = None) -> None:
        self._weight = weight
        self._rng = rng or random.Random()

    def __call__(self, instances: Sequence[Instance], _usage: Usage, /) -> Instance:
        weights = [self._weight(each.payload) for each in instances]
        for each, weight in zip(instances, weights, strict=True):
            if not weight >= 0:
                raise ValueError(f"the weight of {each.id} must not be below 0, but is {weight}")
        if not any(weights):
            return self._rng.choice(instances)
        return self._rng.choices(instances, weights)[0]


class LeastUsed:
    """The one that this provider has least in use; among equals, one after the other."""

    def __init__(self) -> None:
        self._turn = RoundRobin()

    def __call__(self, instances: Sequence[Instance], usage: Usage, /) -> Instance:
        least = min(usage.in_flight.get(each.id, 0) for each in instances)
        return self._turn(
            [each for each in instances if usage.in_flight.get(each.id, 0) == least], usage
        )


class ConsistentHash:
    """For each key the same one, as long as it is there, in every process.

    When an instance goes, only its keys get others; when one comes, it takes its share from all
    (rendezvous hashing: the highest hash of key and id).
    """

    def __call__(self, instances: Sequence[Instance], usage: Usage, /) -> Instance:
        return max(instances, key=lambda each: _score(usage.key, each.id))


def _score(key: str, id_: str) -> bytes:
    return hashlib.blake2b(f"{len(key)}:{key}{id_}".encode(), digest_size=8).digest()
