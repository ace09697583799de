"""Which state a leader asks the others about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate
from govraft.node.epochs import Epochs

__all__ = ["Probed", "probed"]


class Probed(NamedTuple):
    """A state, and whose quorums certify it."""

    seq: int
    root: bytes
    sections: Mapping[str, bytes]
    electorates: tuple[Electorate, ...]


def probed(machine: Machine, epochs: Epochs) -> Probed:
    """The newest state; that at which the electorate changes, while the change waits for its certificate."""
    if epochs.waiting:
        change = epochs.waiting[0]
        return Probed(change.seq, change.root, change.sections, epochs.electorates(change.seq))
    return Probed(machine.seq, machine.root, machine.sections, epochs.electorates(machine.seq))
