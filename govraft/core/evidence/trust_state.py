"""What a verifier was given to trust beyond the genesis, and what evidence is worth beside it.

    {"format": "govraft.trust.v1", "cluster": hex, "epoch", "electorate": [{"id", "public_key": base64, "voter"}],
     "seq", "root": hex}

From the genesis alone, every electorate that ever was looks alike: whoever holds the keys of a quorum that left years
ago can sign anything, at any time it likes to name. A trust state says how far the verifier has come: at `seq` the
lineage had `root`, and `electorate` was in force. It is given by people, never picked up from what is verified.

    what evidence shows                                             then
    --------------------------------------------------------------  ----------------------------------------------
    another root or electorate for a seq or epoch that is trusted   `conflict`: there are two histories
    certified by the trusted electorate, or one that follows it     it holds
    exactly the trusted seq and root                                it holds
    anything else                                                   signed by who has left: a permit is `superseded`,
                                                                    of the rest nothing shows that it happened

Source: protocol, "What an offline verifier may believe".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from govraft.core.codec.base64_text import from_base64, to_base64
from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import is_sound_key
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.genesis import FIRST_EPOCH, Genesis
from govraft.core.model.ids import HEX_DIGEST_PATTERN, NODE_ID_PATTERN
from govraft.errors import DecodeError, InputError, VerificationError

__all__ = [
    "CONFLICT",
    "NOT_SHOWN",
    "SUPERSEDED",
    "TRUST_BYTES_MAX",
    "TRUST_FORMAT",
    "WRONG_CLUSTER",
    "Shown",
    "TrustState",
    "bare_electorate",
    "not_shown",
]

TRUST_FORMAT = "govraft.trust.v1"
TRUST_BYTES_MAX = 64 * 1024
CONFLICT = "conflict"
NOT_SHOWN = "not_shown"
SUPERSEDED = "superseded"
WRONG_CLUSTER = "wrong_cluster"

_HexDigest = Annotated[str, msgspec.Meta(pattern=HEX_DIGEST_PATTERN)]
_Counted = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class _Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=NODE_ID_PATTERN)]
    public_key: str
    voter: bool


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.trust.v1"]
    cluster: _HexDigest
    epoch: _Counted
    electorate: list[_Member]
    seq: _Counted
    root: _HexDigest


class Shown(msgspec.Struct, frozen=True):
    """What a piece of evidence shows of the history, verified from the genesis.

    Attributes:
        history: The electorates that it leads to.
        epoch: Of the electorate that stands for it.
        seq: Of its certificate; 0 if it has none.
        roots: Certified roots by seq, that of its certificate included.
    """

    history: EpochHistory
    epoch: int
    seq: int = 0
    roots: Mapping[int, bytes] = msgspec.field(default_factory=dict)

    def root_at(self, seq: int) -> bytes | None:
        """The root that the lineage has at `seq`, if that is shown."""
        return self.roots.get(seq) or self.history.roots.get(seq)


class TrustState(msgspec.Struct, frozen=True):
    """At `seq` the lineage has this root, and this electorate is in force.

    Attributes:
        cluster: Cluster id.
        electorate: Its members have no certificates and addresses here.
        seq: At least 1.
        root: 32 bytes.
    """

    cluster: str
    electorate: Electorate
    seq: int
    root: bytes

    def encode(self) -> bytes:
        """The bytes of its file."""
        members = [
            {"id": item.id, "public_key": to_base64(item.public_key), "voter": item.voter}
            for item in self.electorate.members
        ]
        return pack_json(
            {
                "format": TRUST_FORMAT,
                "cluster": self.cluster,
                "epoch": self.electorate.epoch,
                "electorate": members,
                "seq": self.seq,
                "root": self.root.hex(),
            }
        )

    @property
    def fingerprint(self) -> str:
        """Names it, for people to compare: 64 hexadecimal digits."""
        return digest("trust", self.encode()).hex()

    @classmethod
    def decode(cls, data: bytes, genesis: Genesis) -> TrustState:
        """Read a trust file; one newline may end it.

        Args:
            data: The whole file.
            genesis: Trusted.

        Raises:
            InputError: Not canonical JSON, a field is missing or unusable, or it is of another cluster (code
                `wrong_cluster`).
        """
        try:
            file = msgspec.convert(unpack_json(data.removesuffix(b"\n"), max_bytes=TRUST_BYTES_MAX), _File)
        except msgspec.ValidationError as error:
            raise DecodeError(str(error)) from error
        # SAFETY: an electorate of one cluster says nothing about another one
        # (test_trust_file.py::test_what_is_no_trust_state_of_this_cluster_is_refused).
        if file.cluster != genesis.cluster_id:
            raise InputError(
                f"it is of cluster {file.cluster}, the genesis of {genesis.cluster_id}", code=WRONG_CLUSTER
            )
        members = tuple(_member(item) for item in file.electorate)
        keys, ids = {item.public_key for item in members}, [item.id for item in members]
        if ids != sorted(set(ids)) or len(keys) != len(members):
            raise DecodeError("`electorate` must be sorted by id, each id and each key once")
        if not any(item.voter for item in members):
            raise DecodeError("`electorate` needs a voter")
        state = cls(file.cluster, Electorate(file.epoch, genesis.quorum, members), file.seq, bytes.fromhex(file.root))
        if file.epoch == FIRST_EPOCH and _keys_of(state.electorate) != _keys_of(genesis.electorate()):
            raise InputError("its members of epoch 1 are not those of the genesis", code=WRONG_CLUSTER)
        return state

    def history(self, genesis: Genesis) -> EpochHistory:
        """Epochs that begin at the trusted electorate."""
        return EpochHistory.beginning_with(self.electorate, genesis)

    def ties(self, shown: Shown) -> bool:
        """Whether evidence is shown to lie in the trusted history.

        Raises:
            VerificationError: It is of another history; code `conflict`.
        """
        self._refuse_conflict(shown)
        # SAFETY: whoever left may have signed anything since
        # (test_trust.py::test_what_former_members_signed_is_not_shown_to_have_happened).
        return shown.epoch >= self.electorate.epoch or self._is_own_checkpoint(shown)

    def require_current(self, shown: Shown) -> None:
        """Refuse a permit, unless it is of the trusted electorate or of one that follows it. Its seq may be lower.

        Raises:
            VerificationError: Code `conflict`, or `superseded`.
        """
        self._refuse_conflict(shown)
        # SAFETY: keys that left the electorate permit nothing
        # (test_trust.py::test_two_keys_of_the_founders_permit_nothing_more).
        if shown.epoch < self.electorate.epoch:
            message = f"the permit is of epoch {shown.epoch}, whose electorate has left: epoch {self.electorate.epoch}"
            raise VerificationError(f"{message} is trusted", code=SUPERSEDED)

    def _refuse_conflict(self, shown: Shown) -> None:
        """Two histories of one cluster are never taken for an old and a new state of one."""
        epoch = self.electorate.epoch
        for begin, electorate in shown.history.changes:
            # SAFETY: a forged continuation leads to keys of its own
            # (test_trust.py::test_another_electorate_for_the_trusted_epoch_is_a_conflict).
            if electorate.epoch == epoch and _keys_of(electorate) != _keys_of(self.electorate):
                raise _conflict(f"it leads to other members of epoch {epoch}")
            # SAFETY: the epoch at the trusted seq is known (test_trust.py::test_another_epoch_at_the_trusted_seq).
            if (electorate.epoch <= epoch and begin > self.seq) or (electorate.epoch > epoch and begin <= self.seq):
                raise _conflict(f"it has epoch {electorate.epoch} begin at seq {begin}")
        roots = {shown.roots.get(self.seq), shown.history.roots.get(self.seq)} - {None}
        # SAFETY: one seq has one root (test_trust.py::test_another_root_at_the_trusted_seq_is_a_conflict).
        if roots - {self.root}:
            raise _conflict(f"it has another root at seq {self.seq}")
        # SAFETY: who left before the trusted seq certifies nothing at or after it
        # (test_trust.py::test_former_members_that_certify_later_seqs_are_a_conflict).
        if shown.seq >= self.seq and shown.epoch < epoch and not self._is_own_checkpoint(shown):
            raise _conflict(f"it has the electorate of epoch {shown.epoch} certify seq {shown.seq}")

    def _is_own_checkpoint(self, shown: Shown) -> bool:
        return shown.seq == self.seq and shown.root_at(self.seq) == self.root

    def refuse_other(self, other: TrustState) -> None:
        """Refuse another trust state that cannot be of the same history.

        Raises:
            VerificationError: Code `conflict`.
        """
        mine, theirs = self.electorate, other.electorate
        if mine.epoch == theirs.epoch and _keys_of(mine) != _keys_of(theirs):
            raise _conflict(f"it has other members of epoch {mine.epoch}")
        if other.seq == self.seq and other.root != self.root:
            raise _conflict(f"it has another root at seq {self.seq}")
        is_ordered = theirs.epoch == mine.epoch or (theirs.epoch < mine.epoch) == (other.seq < self.seq)
        if not is_ordered or (other.seq == self.seq and theirs.epoch != mine.epoch):
            raise _conflict(f"it has epoch {theirs.epoch} at seq {other.seq}")


def not_shown() -> VerificationError:
    """The error for evidence of the past that nothing ties to the trusted history."""
    message = "signed by an electorate that has left; not shown to be in the history you trust"
    return VerificationError(message, code=NOT_SHOWN)


def _conflict(why: str) -> VerificationError:
    message = f"{why}, unlike your trust state: there are two histories of this cluster; keep this file as evidence"
    return VerificationError(message, code=CONFLICT)


def _member(item: _Member) -> Member:
    key = from_base64(item.public_key)
    if key is None or not is_sound_key(key):
        raise DecodeError(f"`public_key` of `{item.id}` is no usable Ed25519 key")
    return Member(item.id, key, b"", item.voter, "")


def bare_electorate(electorate: Electorate) -> Electorate:
    """An electorate as a trust state has it: without certificates and addresses."""
    members = tuple(Member(item.id, item.public_key, b"", item.voter, "") for item in electorate.members)
    return Electorate(electorate.epoch, electorate.rule, members)


def _keys_of(electorate: Electorate) -> list[tuple[str, bytes, bool]]:
    return [(item.id, item.public_key, item.voter) for item in electorate.members]
