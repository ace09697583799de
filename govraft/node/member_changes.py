"""What a leader makes sure of before it proposes a change of the electorate, beyond what apply decides.

Nothing here is needed for safety. A change that does not fit would be certified late or never, and until then nothing
else either: so one change at a time, and an observer becomes a voter only when it keeps up.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

from govraft.core.convergence.round import RoundLeader
from govraft.core.crypto.keys import certificate_key
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    MemberAdd,
    MemberEvict,
    MemberPromote,
    MemberRemove,
    MemberRotate,
)
from govraft.core.model.outcome import Rejection
from govraft.core.model.units import BoottimeNs

__all__ = ["MEMBER_NOT_SYNCED", "MemberCommand", "Unfit", "is_member_command", "judge_change"]

MEMBER_NOT_SYNCED = "member_not_synced"
LAG_ENTRIES = 256
"""How far an observer may be behind the certified seq when it is promoted: less than a batch or two."""

MemberCommand = MemberAdd | MemberPromote | MemberRemove | MemberRotate | MemberEvict


class Unfit(NamedTuple):
    """Why a change is not proposed."""

    code: str
    detail: str


def is_member_command(command: Command) -> bool:
    """Whether it changes the electorate."""
    return isinstance(command, MemberCommand)


def judge_change(
    command: Command, machine: Machine, leading: RoundLeader, certified_seq: int, now: BoottimeNs
) -> Unfit | None:
    """Whether the leader should propose a change of the electorate now.

    Args:
        command: That the machine would apply.
        machine: The leader's.
        leading: Knows who acked what, and when.
        certified_seq: That a new voter should have come near.
        now: Boot time.
    """
    if isinstance(command, MemberAdd | MemberRotate):
        # Apply parses no certificate, as parsers differ. A wrong one would only keep its own node from connecting.
        key, certificate = (base64.b64decode(text) for text in (command.member.public_key, command.member.certificate))
        if certificate_key(certificate) != key:
            message = f"the certificate of `{command.member.id}` is no X.509 certificate of its key"
            return Unfit(Rejection.MEMBER_INVALID.value, message)
    if isinstance(command, MemberPromote):
        member = machine.electorate.find(command.id)
        acked = None if member is None else leading.progress(member, now)
        if acked is None or acked < certified_seq - LAG_ENTRIES:
            behind = "has not been heard of lately" if acked is None else f"is at seq {acked} of {certified_seq}"
            return Unfit(MEMBER_NOT_SYNCED, f"`{command.id[:64]}` {behind}; wait until it keeps up, then promote it")
    return None
