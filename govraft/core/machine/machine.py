"""The replicated state machine: entries in, leaves out.

    entry ─ decode ─ admit ─ handle ─┬─ Changes  → applied
                     (who)  (whether)└─ Rejected → rejected, with its code
    then: remember the command id, forget expired ones, digest, leaf, lineage

Rules:
1. Total. Every entry becomes the next seq, whatever its bytes; `apply` raises no `Exception`. The log would otherwise
   retry the entry for ever on every node.
2. Deterministic. The result depends on the genesis and the entries alone: no clock, no randomness, no iteration order
   that hashing decides. Raft's index and term never enter.
3. All or nothing. Deciding changes nothing; a defect while deciding is `INTERNAL_ERROR`. A defect while committing
   leaves the state unknown, so it halts the node. So does running out of memory or stack: other nodes may not have.
4. By the rules whose number the state holds (`core/model/rules.py`). Nothing is applied by rules that are not known:
   ask `knows_rules` before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from govraft.core.codec.envelope import decode_envelope, envelope_digest
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import verify
from govraft.core.crypto.verification_cache import VerificationCache
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree, hash_leaf
from govraft.core.machine.admission import Admitted, admit
from govraft.core.machine.anchor_view import Anchor
from govraft.core.machine.applied import AppliedEntry
from govraft.core.machine.dispatch import handle
from govraft.core.machine.entry import Entry, decode_entry, entry_digest
from govraft.core.machine.records import (
    COMMAND_PREFIX,
    Entity,
    KnownCommand,
    Mark,
    PolicyBundle,
    PolicyVersion,
    mark_key,
)
from govraft.core.machine.requirement import holds_in_root
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Authority, Role
from govraft.core.model.commands import Command, command_name, decode_command
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid
from govraft.core.model.outcome import Applied, Outcome, Rejected, Rejection
from govraft.core.model.rules import RULES_NEWEST, explain_unknown_rules
from govraft.core.model.units import WallMs
from govraft.errors import InputError, InvariantViolation, LineageError, require

__all__ = ["AppliedEntry", "Machine"]

_NO_MARKS: Mapping[str, Mark] = {}
_ENTITY_KINDS = frozenset({"action", "resource", "subject"})


class _Decision(NamedTuple):
    """What an envelope comes to. Nothing has happened yet."""

    admitted: Admitted | None
    changes: Changes
    outcome: Outcome
    remember: bool


class Machine:
    """The state after the entries applied so far. One thread, no re-entry."""

    def __init__(self, genesis: Genesis) -> None:
        """A fresh machine: seq 1, whose leaf stands for the genesis."""
        self.genesis = genesis
        # A command is examined where it arrives and by the leader, and then applied: verified once for all three.
        self._is_valid = VerificationCache(verify)
        self.cluster_id = genesis.cluster_id
        self.lineage = MerkleTree()
        self.seq = 0
        self.time = WallMs(genesis.created)
        self._state = State(genesis)
        self._leaves: deque[tuple[Leaf, bytes]] = deque(maxlen=limits.LEAVES_KEPT)
        self._root = b""
        self._consistent = True
        self.genesis_leaf = self._append_leaf(digest("genesis", genesis.encode()), Applied())

    @classmethod
    def restored(
        cls,
        genesis: Genesis,
        *,
        time: int,
        records: Mapping[str, Mapping[str, bytes]],
        lineage: MerkleTree,
        recent: Sequence[bytes],
    ) -> Machine:
        """The machine after the entries of a lineage, without applying them.

        Args:
            genesis: Trusted.
            time: WallMs of the machine; must be that of the newest leaf.
            records: Of `copy_records`; their digests must be those of the newest leaf.
            lineage: The tree over all leaves, up to the newest. Trusted: the caller has verified its root.
            recent: The exact bytes of the newest leaves, at least one and at most all.

        Raises:
            LineageError: They do not belong together, or to this genesis.
            DecodeError: One of `recent` is no leaf.
        """
        machine = cls(genesis)
        leaves = [(Leaf.decode(encoded), encoded) for encoded in recent]
        first = lineage.size - len(leaves) + 1
        if not leaves or first < 1 or lineage.leaf_hash(0) != machine.lineage.leaf_hash(0):
            raise LineageError("the lineage is not one of this genesis")
        for seq, (leaf, encoded) in enumerate(leaves, first):
            if leaf.seq != seq or hash_leaf(encoded) != lineage.leaf_hash(seq - 1):
                raise LineageError(f"the leaf of seq {seq} is not that of the lineage")
        newest = leaves[-1][0]
        state = State.restored(genesis, records, newest.sections)
        if (state.electorate.epoch, time, state.state_root) != (newest.epoch, newest.time, newest.state_root):
            raise LineageError(f"epoch, time or state differ from those of the leaf of seq {newest.seq}")
        machine.lineage, machine.seq, machine.time, machine._state = lineage, newest.seq, WallMs(time), state
        machine._leaves = deque(leaves, maxlen=limits.LEAVES_KEPT)
        machine._root = b""
        return machine

    # -- deciding and applying

    def apply(self, entry: bytes) -> AppliedEntry:
        """Apply the next entry. Total and deterministic.

        Raises:
            InvariantViolation: The state or its rules are unknown, or memory or stack ran out. Not an `Exception`: the
                node halts.
        """
        require(self._consistent, "a change of the state was interrupted, restart the node")
        # SAFETY: whoever does not know the rules would come to another state than the others
        # (test_numbered_rules.py::test_nothing_is_applied_by_rules_that_are_not_known).
        require(self.knows_rules, explain_unknown_rules(self.rules))
        decoded = self._decode_entry(entry)
        time, decision = self.time, _Decision(None, Changes(), Rejected(Rejection.ENTRY_MALFORMED), remember=False)
        if decoded is not None:
            time = WallMs(max(self.time, decoded.time))
            decision = self._decide(decoded.envelope, time)
        self._consistent = False
        try:
            applied = self._commit(entry, None if decoded is None else decoded.envelope, time, decision)
        except BaseException as error:
            # SAFETY: a half-changed state is never read again. test_machine.test_defect_while_committing_halts
            raise InvariantViolation(f"committing entry {self.seq + 1} failed: {error!r}") from error
        self._consistent = True
        return applied

    def examine(self, envelope: bytes, now: WallMs) -> Command | Rejected:
        """What `apply` would answer to this envelope as the next entry, stamped `now`. Changes nothing.

        Returns:
            The command if it would be applied, else the rejection.
        """
        require(self._consistent, "a change of the state was interrupted, restart the node")
        if not self.knows_rules:
            return Rejected(Rejection.INTERNAL_ERROR, explain_unknown_rules(self.rules))
        decision = self._decide(envelope, WallMs(max(self.time, now)))
        if isinstance(decision.outcome, Rejected) or decision.admitted is None:
            return decision.outcome if isinstance(decision.outcome, Rejected) else Rejected(Rejection.INTERNAL_ERROR)
        return decision.admitted.command

    def _decode_entry(self, entry: bytes) -> Entry | None:
        try:
            return decode_entry(entry)
        except InputError:
            return None
        except (MemoryError, RecursionError, KeyboardInterrupt) as error:
            raise InvariantViolation(f"cannot decode entry {self.seq + 1}: {error!r}") from error

    def _decide(self, envelope: bytes, time: WallMs) -> _Decision:
        admitted: Admitted | None = None
        try:
            answer = admit(self._state, envelope, cluster_id=self.cluster_id, time=time, is_valid=self._is_valid)
            if isinstance(answer, Rejected):
                return _Decision(None, Changes(), answer, remember=False)
            admitted = answer
            return self._decide_admitted(answer, time)
        except (MemoryError, RecursionError, KeyboardInterrupt) as error:
            # SAFETY: what one node ran out of, others may have had. test_machine.test_exhaustion_halts
            raise InvariantViolation(f"deciding entry {self.seq + 1} failed: {error!r}") from error
        except Exception as error:  # noqa: BLE001 - rule 1
            outcome = Rejected(Rejection.INTERNAL_ERROR, repr(error))
            # SAFETY: a defect changes nothing. test_machine.test_defect_while_deciding_is_rejected
            return _Decision(admitted, Changes(), outcome, remember=admitted is not None)

    def _decide_admitted(self, admitted: Admitted, time: WallMs) -> _Decision:
        # SAFETY: a command works once. test_machine.test_replay
        if admitted.duplicate:
            outcome = Rejected(Rejection.DUPLICATE_COMMAND, f"`{admitted.command.command_id}` was used already")
            return _Decision(admitted, Changes(), outcome, remember=False)
        if len(self._state.audit.commands) >= self._room_for_commands(admitted):
            outcome = Rejected(Rejection.LIMIT_EXCEEDED, "too many commands are remembered, wait until some expire")
            return _Decision(admitted, Changes(), outcome, remember=False)
        context = Context(
            self.seq + 1,
            time,
            admitted.authors,
            admitted.signers,
            admitted.node,
            self.cluster_id,
            admitted.signed_bytes,
            admitted.foreign,
            self._is_valid,
        )
        result = handle(self._state, admitted.command, context)
        if isinstance(result, Rejected):
            return _Decision(admitted, Changes(), result, remember=True)
        return _Decision(admitted, result, Applied(), remember=True)

    def _room_for_commands(self, admitted: Admitted) -> int:
        """How many commands may be remembered already: the fewer, the less its authors are trusted with."""
        role = admitted.role
        # SAFETY: nobody can use up the places that it takes to stop him
        # (test_review_issue_governance.py::test_who_floods_the_log_leaves_room_for_those_who_stop_him).
        if role is None:
            eighths = 4  # One member or authority on its own.
        elif not holds_in_root(self._state, role, admitted.authors):
            eighths = 6
        else:
            eighths = 8 if role in (Role.ROOT, Role.EMERGENCY) else 7
        return max(1, limits.KNOWN_COMMANDS * eighths // 8)

    def _commit(self, entry: bytes, envelope: bytes | None, time: WallMs, decision: _Decision) -> AppliedEntry:
        self.time = time
        changes, admitted = decision.changes, decision.admitted
        if admitted is not None and decision.remember:
            command = admitted.command
            known = KnownCommand(
                command.command_id, self.seq + 1, admitted.payload_digest, decision.outcome.code, command.not_after
            )
            changes.put("audit", COMMAND_PREFIX + command.command_id, known)
        for command_id in self._state.audit.expired(time, limits.COMMANDS_PRUNED_PER_ENTRY):
            changes.remove_unless_put("audit", COMMAND_PREFIX + command_id)
        touched = self._state.commit(changes)
        digest_of_entry = entry_digest(entry)
        leaf = self._append_leaf(digest_of_entry, decision.outcome)
        return AppliedEntry(
            self.seq,
            leaf,
            decision.outcome,
            digest_of_entry,
            None if envelope is None else envelope_digest(envelope),
            None if admitted is None else admitted.command.command_id,
            touched,
            tuple(changes.unchanged),
        )

    def _append_leaf(self, digest_of_entry: bytes, outcome: Outcome) -> bytes:
        state = self._state
        self.seq += 1
        leaf = Leaf(
            self.seq, state.electorate.epoch, self.time, digest_of_entry, outcome.code, state.digests, state.state_root
        )
        encoded = leaf.encode()
        self._leaves.append((leaf, encoded))
        self.lineage.append(encoded)
        self._root = b""
        return encoded

    # -- reading

    @property
    def rules(self) -> int:
        """The number of the rules by which the next entry is applied."""
        return self._state.rules

    @property
    def knows_rules(self) -> bool:
        """Whether this govraft can apply entries by that number."""
        return self.rules <= RULES_NEWEST

    @property
    def epoch(self) -> int:
        """Of the electorate."""
        return self._state.electorate.epoch

    @property
    def electorate(self) -> Electorate:
        """The members of the current epoch."""
        return self._state.electorate

    @property
    def root(self) -> bytes:
        """Root of the lineage at `seq`. Asked for with every check, so it is put together once a seq."""
        if not self._root:
            self._root = self.lineage.root()
        return self._root

    @property
    def state_root(self) -> bytes:
        """Digest over the digests of the sections."""
        return self._state.state_root

    @property
    def sections(self) -> dict[str, bytes]:
        """Digest of each section by name. A new dict after each change; never change it."""
        return self._state.digests

    def records(self, section: str) -> Mapping[str, bytes]:
        """The records of a section, as their exact bytes, by key. Raises `KeyError` for another name."""
        return self._state.records(section)

    def copy_records(self) -> dict[str, dict[str, bytes]]:
        """All records by section and key. Changes of the machine do not reach the copy."""
        require(self._consistent, "a change of the state was interrupted, restart the node")
        return self._state.copy_records()

    def leaf(self, seq: int) -> Leaf | None:
        """The leaf of one of the last `LEAVES_KEPT` seqs, else None."""
        found = self._recent(seq)
        return None if found is None else found[0]

    def leaf_bytes(self, seq: int) -> bytes | None:
        """As `leaf`, the exact bytes."""
        found = self._recent(seq)
        return None if found is None else found[1]

    def _recent(self, seq: int) -> tuple[Leaf, bytes] | None:
        place = seq - (self.seq - len(self._leaves)) - 1
        return self._leaves[place] if 0 <= place < len(self._leaves) else None

    def known_command(self, command_id: str) -> KnownCommand | None:
        """What became of the authenticated command of that id; None once it has expired."""
        return self._state.audit.known(command_id, self.time)

    def recall(self, envelope: bytes) -> KnownCommand | None:
        """What became of exactly the command in this envelope. None for another command of the same id."""
        try:
            opened = decode_envelope(envelope)
            name = command_name(opened.payload_type)
            if name is None:
                return None
            known = self.known_command(decode_command(name, opened.payload).command_id)
        except InputError:
            return None
        # SAFETY: nobody takes another command's outcome for that of his own. test_machine.test_recall
        return known if known is not None and known.payload_digest == opened.payload_digest else None

    @property
    def anchors(self) -> Mapping[str, Anchor]:
        """The last anchor of each node's decision log, by node id."""
        return self._state.audit.anchors.by_node

    @property
    def authorities(self) -> Mapping[str, Authority]:
        """Authorities by id."""
        return self._state.authorities.by_id

    @property
    def thresholds(self) -> dict[str, int]:
        """How many distinct keys a command of a role needs, by role name, and by `role@domain` below the root."""
        return {
            role.value if domain == ROOT_DOMAIN else f"{role.value}@{domain}": count
            for (role, domain), count in self._state.authorities.thresholds.items()
        }

    @property
    def state(self) -> State:
        """The sections and their decoded views. For reading only."""
        return self._state

    @property
    def entities(self) -> Mapping[str, Entity]:
        """Entities by canonical uid. An entity that changes becomes a new object, any other one stays the same."""
        return self._state.entities.entities

    @property
    def active_policies(self) -> PolicyBundle | None:
        """The version that decides in the root domain; the same object until another one is activated."""
        return self._state.policies.active_bundle()

    @property
    def policy_versions(self) -> tuple[PolicyVersion, ...]:
        """The published versions of the root domain that are kept, in their order."""
        versions = self._state.policies.of(ROOT_DOMAIN).versions
        return tuple(versions[number] for number in sorted(versions))

    def policy_bundle(self, version: int) -> PolicyBundle | None:
        """A published version of the root domain with its texts, None when it is not kept."""
        return self._state.policies.bundle(version)

    @property
    def has_marks(self) -> bool:
        """Whether anything at all is quarantined, isolated, revoked or invalidated."""
        return bool(self._state.entities.marks)

    def marks(self, kind: str, target: str) -> Mapping[str, Mark]:
        """The marks on a target, by name: `quarantined`, `isolated`, `revoked`, `invalidated`. Empty without any.

        Args:
            kind: Value of a `TargetKind`.
            target: An entity uid in any spelling, else the id as it is.

        Raises:
            DecodeError: `target` is not a uid.
        """
        if not self._state.entities.marks:
            return _NO_MARKS
        name = canonical_uid(target) if kind in _ENTITY_KINDS else target
        return self._state.entities.marks.get(mark_key(kind, name), _NO_MARKS)

    @property
    def marked(self) -> Mapping[tuple[str, str], Mapping[str, Mark]]:
        """All marks by (kind, target)."""
        parts = ((key.split("/", 2), marks) for key, marks in self._state.entities.marks.items())
        return {(kind, target): marks for (_, kind, target), marks in parts}
