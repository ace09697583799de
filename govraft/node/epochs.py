"""Which electorates a node knows: the certified one, and those of entries that it has applied since.

| change of the electorate       | then                                                                             |
|--------------------------------|----------------------------------------------------------------------------------|
| applied                        | waiting: its members may connect, and certify it together with those before it   |
| its joint lease is verified    | certified: its members alone certify what follows; kept for ever; Raft follows it |

Changes are certified in their order, so at most one of them is being certified at a time: the first that waits. Nothing
beyond it is acked, probed or believed before.

Who was away learns the certified changes from others, with their proofs, and may know them before it has applied their
entries: so it can hear members that it would otherwise come to know only from them. When it applies such an entry, its
leaf must be the certified one.

Source: protocol, "Epochs".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.convergence.certificate import IsValid, lease_note
from govraft.core.convergence.messages import ProvenChange
from govraft.core.evidence.epochs import EpochHistory, EpochLink
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import CorruptionError, DecodeError, GovraftError, require
from govraft.ports.store import StoredEpoch, StoredState

__all__ = ["Change", "Epochs", "link_of"]


class Change(NamedTuple):
    """A change of the electorate that was applied, with all that is needed to certify and to prove it."""

    seq: int
    electorate: Electorate
    root: bytes
    sections: Mapping[str, bytes]
    leaf: bytes
    records: bytes
    proof: bytes


class Epochs:
    """The electorates of one node.

    Args:
        genesis: Trusted.
        stored: The certified epochs of earlier lives are verified again, from the genesis on.
        node_id: Of this node.
        public_key: Of this node.
        is_valid: Checks a signature.

    Raises (on construction):
        CorruptionError: A stored epoch proves nothing, or is not one of the stored lineage.
    """

    def __init__(
        self, genesis: Genesis, stored: StoredState, node_id: str, public_key: bytes, is_valid: IsValid
    ) -> None:
        self.node_id, self.public_key = node_id, public_key
        self.history = EpochHistory(genesis, is_valid)
        self.rows: list[StoredEpoch] = []
        """The certified epochs, from epoch 2 on."""
        self.waiting: list[Change] = []
        """The changes that were applied and are not certified, in their order."""
        self.certified_note = b""
        """The certificate of the newest certified change; empty for the genesis."""
        self.absence = ""
        """Why this node is no member now, for people; empty if it is one."""
        self.contradicted: StoredEpoch | None = None
        """A certified change whose leaf is not the one that this node came to by itself."""
        for row in stored.epochs:
            self._take_stored(row, stored)
        self.applied_epoch = genesis.electorate().epoch
        self._was_member = False
        self._look_for_itself(genesis.electorate(), 1)

    @property
    def certified(self) -> Electorate:
        """The newest certified electorate."""
        return self.history.newest

    @property
    def certified_seq(self) -> int:
        """The seq of its change, 1 for the genesis."""
        return self.history.newest_seq

    @property
    def uncertified(self) -> int | None:
        """The seq of the first change that waits for its certificate."""
        return self.waiting[0].seq if self.waiting else None

    @property
    def speakers(self) -> tuple[Electorate, ...]:
        """All whose members this node listens to: of the certified electorate, and of those that wait."""
        return (self.certified, *(change.electorate for change in self.waiting))

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of `speakers`. An id with two certificates stands there twice."""
        found: dict[tuple[str, bytes], Member] = {}
        for electorate in self.speakers:
            for member in electorate.members:
                found[member.id, member.certificate] = member
        return tuple(found[name] for name in sorted(found))

    @property
    def member_ids(self) -> list[str]:
        """Their ids, sorted, each once."""
        return sorted({member.id for electorate in self.speakers for member in electorate.members})

    def electorates(self, seq: int) -> tuple[Electorate, ...]:
        """Whose quorums certify `seq` for this node now: one; at the first waiting change two; out of reach none."""
        if seq < self.certified_seq:
            return ()
        first = self.uncertified
        if first is None or seq < first:
            return (self.certified,)
        # SAFETY: at the change itself a quorum of the old and one of the new members must agree
        # (test_electorate_changes.py::test_a_change_needs_a_quorum_of_both).
        return (self.certified, self.waiting[0].electorate) if seq == first else ()

    def is_itself_in(self, electorates: tuple[Electorate, ...]) -> bool:
        """Whether this node is a member in one of them, under its own key."""
        own = [member for electorate in electorates if (member := electorate.find(self.node_id)) is not None]
        return any(member.public_key == self.public_key for member in own)

    def is_former(self, public_key: bytes, seq: int) -> bool:
        """Whether the waiting change at `seq` gives this node its key in the place of that one."""
        before, after = (self.electorates(seq)[place:][:1] for place in (0, 1))
        if not after:
            return False
        old = before[0].find(self.node_id)
        return old is not None and old.public_key == public_key and self.is_itself_in(after)

    def judges(self, epoch: int, seq: int) -> tuple[Electorate, ...]:
        """As `electorates`, for a lease of that epoch; none if it is of another one than this node can judge."""
        electorates = self.electorates(seq)
        return electorates if electorates and electorates[-1].epoch == epoch else ()

    def begin(self, machine: Machine) -> None:
        """Learn where the machine starts, if not at the genesis.

        Raises:
            CorruptionError: At its seq another electorate is certified than it holds.
        """
        if self.history.in_force(machine.seq) != machine.electorate:
            raise _contradicts(machine.epoch, machine.seq)
        self.applied_epoch = machine.epoch
        self._look_for_itself(machine.electorate, machine.seq)

    def applied(self, machine: Machine, leaf: bytes) -> bool:
        """Learn that an entry was applied.

        Returns:
            Whether it changed the electorate to one that waits for its certificate.
        """
        if machine.epoch == self.applied_epoch or self.contradicted is not None:
            return False
        require(machine.epoch == self.applied_epoch + 1, "one entry makes at most one epoch")
        electorate, seq = machine.electorate, machine.seq
        self.applied_epoch = electorate.epoch
        self._look_for_itself(electorate, seq)
        if electorate.epoch <= self.certified.epoch:
            row = self.rows[electorate.epoch - 2]
            # SAFETY: who came to another state than both electorates certified must not go on with it
            # (test_electorate_changes.py::test_a_node_that_comes_to_another_electorate_isolates_itself).
            if (row.seq, row.leaf) != (seq, leaf):
                self.contradicted = row
            return False
        change = Change(
            seq,
            electorate,
            machine.root,
            machine.sections,
            leaf,
            pack(dict(machine.records("electorate"))),
            pack(machine.lineage.inclusion_proof(seq - 1, seq)),
        )
        self.waiting.append(change)
        return True

    def prove(self, epoch: int, change: ProvenChange) -> tuple[int, Electorate]:
        """What another node's proof of the next epoch proves, but for its lease: its seq and its electorate.

        Raises:
            InputError: Malformed.
            VerificationError: It proves nothing.
        """
        return self.history.prove(link_of(StoredEpoch(epoch, 0, *msgspec.structs.astuple(change))))

    def certify_waiting(self, lease: bytes) -> StoredEpoch:
        """The first waiting change is certified: its joint lease was verified, and its root is this node's own.

        Args:
            lease: The signed lease, exact bytes.
        """
        change = self.waiting.pop(0)
        row = StoredEpoch(change.electorate.epoch, change.seq, lease, change.records, change.leaf, change.proof)
        return self._certify(row, change.electorate)

    def certify_proven(self, seq: int, electorate: Electorate, change: ProvenChange) -> StoredEpoch:
        """Another node's proof of the next epoch holds, and its lease too; this node has no other root at its seq."""
        if self.waiting and self.waiting[0].seq == seq:
            return self.certify_waiting(change.lease)
        # Ahead of what was applied: nothing can be waiting beyond it.
        require(not self.waiting, "a change waits that was not certified in its turn")
        return self._certify(StoredEpoch(electorate.epoch, seq, *msgspec.structs.astuple(change)), electorate)

    def _certify(self, row: StoredEpoch, electorate: Electorate) -> StoredEpoch:
        self.history.learn(row.seq, electorate)
        self.rows.append(row)
        self.certified_note = lease_note(row.lease)
        return row

    def proofs(self, first: int, count: int) -> tuple[ProvenChange, ...]:
        """The proofs of the epochs from `first` on, as many as fit into a frame and at most `count`."""
        found: list[ProvenChange] = []
        size = 0
        for row in self.rows[first - 2 : first - 2 + count] if first >= 2 else ():
            size += len(row.lease) + len(row.records) + len(row.leaf) + len(row.proof)
            if found and size > FRAME_BYTES // 2:
                break
            found.append(ProvenChange(row.lease, row.records, row.leaf, row.proof))
        return tuple(found)

    def _take_stored(self, row: StoredEpoch, stored: StoredState) -> None:
        try:
            link = link_of(row)
            self.history.verify(link)
        except GovraftError as error:
            message = f"stored epoch {row.epoch} proves nothing: {error}; take the node out of service"
            raise CorruptionError(message, code="lineage_inconsistent") from error
        # SAFETY: what a quorum of both electorates certified is in this lineage, as far as it goes, or this is not the
        # store it was (test_electorate_changes.py::test_a_store_that_contradicts_its_epochs_is_refused).
        is_reached = len(stored.leaves) >= row.seq
        if self.history.newest_seq != row.seq or (is_reached and stored.leaves[row.seq - 1].leaf != row.leaf):
            raise _contradicts(row.epoch, row.seq)
        self.rows.append(row)
        self.certified_note = link.note

    def _look_for_itself(self, electorate: Electorate, seq: int) -> None:
        own = electorate.find(self.node_id)
        if own is not None and own.public_key == self.public_key:
            self.absence, self._was_member = "", True
        elif not self.absence or not self._was_member:
            self.absence = "this node is no member " + (f"since seq {seq}" if self._was_member else f"yet at seq {seq}")
            if own is not None:
                self.absence += f": `{own.id}` has another key than the one that it was started with"


def link_of(row: StoredEpoch) -> EpochLink:
    """The portable link of a stored epoch.

    Raises:
        InputError: Its bytes are malformed.
    """
    records = unpack(row.records, max_bytes=FRAME_BYTES)
    proof = unpack(row.proof, max_bytes=FRAME_BYTES)
    if not isinstance(records, dict) or not all(isinstance(value, bytes) for value in records.values()):
        raise DecodeError(f"the records of epoch {row.epoch} are malformed")
    if not isinstance(proof, list) or not all(isinstance(node, bytes) for node in proof):
        raise DecodeError(f"the proof of epoch {row.epoch} is malformed")
    return EpochLink(row.epoch, row.leaf, records, lease_note(row.lease), tuple(proof))


def _contradicts(epoch: int, seq: int) -> CorruptionError:
    return CorruptionError(
        f"stored epoch {epoch} is not that of the stored lineage at seq {seq}; take the node out of service and keep "
        "its data directory",
        code="lineage_inconsistent",
        seq=seq,
    )
