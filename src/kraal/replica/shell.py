"""What a member of an ensemble asks of the world around it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from kraal.model.ensemble import EnsembleConfig
from kraal.tree.data_tree import DataTree
from kraal.zab.history import Entry

if TYPE_CHECKING:
    from kraal.replica.replica import Replica


class Shell(Protocol):
    """Implemented by the server and by the simulator. No method calls the peer back at once.

    Answers come as inputs of `Peer`: `logged`, `truncated` or `cut_refused`, `snapshot_saved`,
    `dialled` or `dial_failed`.
    """

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction, in zxid order."""

    def save_accepted_epoch(self, epoch: int) -> None:
        """Durable before it returns."""

    def save_current_epoch(self, epoch: int) -> None:
        """Durable before it returns."""

    def truncate(self, zxid: int) -> None:
        """Cut the log behind zxid and recover what is left."""

    def save_snapshot(self, tree: DataTree) -> None:
        """Make this tree the content of the data directory, whatever was there."""

    def abandon_snapshot(self) -> None:
        """Forget a snapshot in writing: the tree is about to hold what may be cut away."""

    def older_history(self, zxid: int) -> Iterable[Entry] | None:
        """The log on disk from zxid on, when it serves to bring a learner in step."""

    def listen(self) -> None:
        """Accept learners on the quorum port."""

    def listen_for_observers(self) -> None:
        """Accept observers on the port for them, while following."""

    def stop_listening(self) -> None:
        """Accept nobody, on either port."""

    def dial(self, leader: int, config: EnsembleConfig) -> None:
        """Connect to the quorum port of the leader."""

    def dial_observer_master(self, master: int, config: EnsembleConfig) -> None:
        """Connect to a voter's port for observers."""

    def hang_up(self) -> None:
        """Dial no more."""

    def serve(self, replica: Replica | None) -> None:
        """Clients talk to this replica from now on; None: to nobody."""

    def activate(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None:
        """Use and record a committed configuration and one that may follow it."""

    def wake(self) -> None:
        """Call `Peer.flush` at the end of this turn."""
