"""The section `electorate`, decoded: the members of the current epoch.

epoch                {epoch, rule}
timing               {lease_ms, clock_drift_max_ppm, clock_skew_max_ms}, fixed by the genesis
member/<node id>     Member
retired/<key id>     a key of a member that was removed, or rotated away: it never comes back
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from govraft.core.crypto.keys import key_id
from govraft.core.model.electorate import Electorate, Member, QuorumRule
from govraft.errors import InvariantViolation

__all__ = ["EPOCH_KEY", "MEMBER_PREFIX", "RETIRED_PREFIX", "ElectorateView", "EpochRecord", "electorate_of"]

EPOCH_KEY = "epoch"
MEMBER_PREFIX = "member/"
RETIRED_PREFIX = "retired/"


class EpochRecord(msgspec.Struct, frozen=True):
    """Which epoch it is, and how many of its voters make a quorum."""

    epoch: int
    rule: QuorumRule


_decode_epoch = msgspec.msgpack.Decoder(EpochRecord).decode
_decode_member = msgspec.msgpack.Decoder(Member).decode


class ElectorateView:
    """The members, their keys, and keys that were."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.keys: dict[str, bytes] = {}
        """Public keys of the members by key id."""
        self.key_holders: dict[str, Member] = {}
        self.retired: dict[str, None] = {}
        self._epoch: EpochRecord | None = None
        self._current: Electorate | None = None

    @property
    def current(self) -> Electorate:
        """The electorate; the same object until it changes."""
        if self._current is None:
            epoch = self._epoch
            if epoch is None:
                raise InvariantViolation("an electorate has an epoch")
            members = tuple(self.members[name] for name in sorted(self.members))
            self._current = Electorate(epoch.epoch, epoch.rule, members)
        return self._current

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key == EPOCH_KEY and value is not None:
            self._epoch = _decode_epoch(value)
        elif key.startswith(MEMBER_PREFIX):
            self._note_member(key[len(MEMBER_PREFIX) :], value)
        elif key.startswith(RETIRED_PREFIX) and value is not None:
            self.retired[key[len(RETIRED_PREFIX) :]] = None
        self._current = None

    def _note_member(self, identifier: str, value: bytes | None) -> None:
        old = self.members.pop(identifier, None)
        if old is not None:
            del self.keys[key_id(old.public_key)], self.key_holders[key_id(old.public_key)]
        if value is not None:
            member = self.members[identifier] = _decode_member(value)
            name = key_id(member.public_key)
            self.keys[name], self.key_holders[name] = member.public_key, member


def electorate_of(records: Mapping[str, bytes]) -> Electorate:
    """The electorate that the records of a section say. Raises `msgspec.MsgspecError` for others."""
    view = ElectorateView()
    for key, value in records.items():
        view.note(key, value)
    return view.current
