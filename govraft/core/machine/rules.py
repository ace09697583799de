"""`cluster.rules`: raise the number of the rules by one. Known under every number, and the same under all of them.

The leader proposes it only when every member has said that it knows the number. A node that meets a number which it
does not know stops applying, and denies.
"""

from __future__ import annotations

from collections.abc import Mapping

from govraft.core.codec.canonical import unpack
from govraft.core.machine.domain_view import RULES_KEY
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model.commands import ClusterRules
from govraft.core.model.genesis import Genesis
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError

__all__ = ["raise_rules", "rules_of_records"]


def raise_rules(state: State, command: ClusterRules, context: Context) -> Changes | Rejected:
    """Raise the number. Refused: anything but the next one."""
    del context
    # SAFETY: one step at a time, so that no number is passed over that a member does not know
    # (test_numbered_rules.py::test_only_the_next_number_follows).
    if command.to != state.rules + 1:
        message = f"rules {state.rules} are in force, only {state.rules + 1} can follow"
        return Rejected(Rejection.RULES_CONFLICT, message)
    changes = Changes()
    changes.put("domains", RULES_KEY, command.to)
    return changes


def rules_of_records(records: Mapping[str, Mapping[str, bytes]], genesis: Genesis) -> int:
    """The number that the records of a state name.

    Args:
        records: By section and key; not believed.
        genesis: Of the cluster.

    Raises:
        DecodeError: The record is no number.
    """
    record = records.get("domains", {}).get(RULES_KEY)
    if record is None:
        return genesis.rules
    number = unpack(record, max_bytes=9)
    if type(number) is not int:
        raise DecodeError("the record `rules` is no number")
    return number
