"""What a node offers to the clients of its host: `api.Service`, on top of the runtime."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from govraft.core.convergence.messages import EPOCHS_PER_MESSAGE
from govraft.core.model import limits
from govraft.core.model.commands import Command
from govraft.core.model.genesis import FIRST_EPOCH
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.rules import RULES_NEWEST
from govraft.core.model.units import NS_PER_MS
from govraft.core.model.verdict import Allow, Deny, Verdict
from govraft.errors import (
    AvailabilityError,
    CorruptionError,
    DecodeError,
    InputError,
    LimitExceededError,
    RejectedError,
)
from govraft.node.attestation_reads import attestation_reads
from govraft.node.audit_reads import audit_reads
from govraft.node.authority_reads import authority_reads
from govraft.node.authorization import Authorization, Granted
from govraft.node.authorizing import Authorizer
from govraft.node.decision_keeper import DecisionKeeper
from govraft.node.evidence_reads import evidence_reads
from govraft.node.gate import Standing
from govraft.node.grant_reads import grant_reads
from govraft.node.isolation import isolation_view
from govraft.node.proposals import Examine, examine_proposal
from govraft.node.runtime import NodeRuntime
from govraft.node.submissions.answers import unavailable
from govraft.node.world_reads import world_reads
from govraft.ports.clock import Clock
from govraft.version import VERSION

__all__ = ["NodeService", "ReadLeaves"]

PAGE_MAX = 500
EXAMINATIONS = 2
EXAMINATIONS_WAITING_MAX = 64

ReadLeaves = Callable[[int, int], Awaitable[list[bytes]]]
"""Reads stored leaves by first and last seq."""


class NodeService:
    """Answers local clients.

    Args:
        runtime: The running node.
        examine: Checks proposed policies and entities before they are replicated.
        read_leaves: For leaves that the machine no longer keeps in memory.
        database: For its size.
        decisions: The decision log, for its status.
        process_status: What the process tells of itself, for the status.
    """

    def __init__(
        self,
        *,
        runtime: NodeRuntime,
        node_id: str,
        clock: Clock,
        examine: Examine,
        read_leaves: ReadLeaves,
        database: Path,
        decisions: DecisionKeeper | None = None,
        process_status: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._runtime = runtime
        self._core = runtime.core
        self._node_id = node_id
        self._clock = clock
        self._examine = examine
        self._read_leaves = read_leaves
        self._database = database
        self._decisions = decisions
        self._process_status = process_status
        self._started = clock.boottime()
        self._examining = asyncio.Semaphore(EXAMINATIONS)
        self._examinations = 0
        self._paging = asyncio.Lock()
        self._watchers: set[asyncio.Event] = set()
        self._seen: tuple[int, str] = (-1, "")
        self._unlisten: Callable[[], None] | None = None
        self._authorizer = Authorizer(runtime, clock, node_id)
        self._reads: dict[str, Callable[[dict[str, Any]], object]] = {
            "certificate": self._certificate,
            "epochs": self._epochs,
            "genesis": self._genesis,
            "lineage": self._lineage,
            "members": self._members,
            "status": self._status,
            **attestation_reads(self._core.machine, clock),
            **audit_reads(self._core.machine, decisions),
            **authority_reads(self._core.machine),
            **world_reads(self._core.machine),
            **evidence_reads(self._core),
            **grant_reads(self._core.machine, clock),
        }

    def check(self, request: Request, *, at_least: int, explain: bool) -> Verdict | Awaitable[Verdict]:
        """Decide one request."""
        del explain  # Verdicts always carry the determining policies and errors.
        return self._runtime.check(request, at_least)

    def holds(self, verdict: Allow) -> bool:
        """Whether the node still serves the state on which it allowed."""
        lease = None if self._runtime.is_halted else self._core.gate.standing().lease
        return lease is not None and lease.seq == verdict.seq

    async def submit(
        self, envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int = 0
    ) -> dict[str, Any]:
        """Hand in a signed command; policies and entities are parsed in isolation first."""
        standing = self._core.gate.standing(at_least)
        # Whoever may not command must not make the node start processes: the machine is asked first.
        command = self._core.machine.examine(envelope, self._clock.wall())
        if isinstance(command, Rejected):
            # Only what is authenticated and known is a replay; a spoiled copy of it is refused for what it is.
            is_replay = command.reason is Rejection.DUPLICATE_COMMAND and not retry
            known = self._core.machine.recall(envelope) if is_replay else None
            if known is not None:
                message = f"`{known.command_id}` was used already: {known.outcome} at seq {known.seq}"
                raise RejectedError(message, code=Rejection.DUPLICATE_COMMAND.value, seq=known.seq)
        else:
            await self._examine_content(command, standing, at_least)
        timeout_ms = max(1, int(timeout_s * 1000))
        try:
            return await self._runtime.submit(envelope, wait=wait, timeout_ms=timeout_ms, at_least=at_least)
        except RejectedError as error:
            # SAFETY: a node that lags may reject what an earlier try has put into the log: only the log's word is final
            # for somebody who asks again; test_service.py::test_a_rejected_retry_says_nothing_of_the_earlier_try
            if retry and "seq" not in error.diagnostics():
                raise RejectedError(str(error), code=error.code, definite=False) from error
            raise

    async def _examine_content(self, command: Command, before: Standing, at_least: int) -> None:
        """Parse what the command brings; refuse it for good only if the schema that it has to fit is the newest."""
        try:
            await examine_proposal(self._core.machine, command, self._examine_in_turn)
        except RejectedError as error:
            # SAFETY: an old state refuses what fits the newest one
            # (test_service.py::test_content_is_refused_for_good_under_a_live_lease_only).
            if before.lease is None or self._core.gate.standing(at_least).lease is None:
                message = f"this node has no live certificate; by its own state: {error}"
                raise unavailable(message, definite=True) from error
            raise

    async def check_signed(self, request: Request, *, at_least: int) -> dict[str, Any]:
        """As `check`; a denial is signed with the node's key."""
        verdict = self._runtime.check(request, at_least)
        if not isinstance(verdict, Allow | Deny):
            verdict = await verdict
        if isinstance(verdict, Allow) and not self.holds(verdict):
            message = "the state changed while the check waited; ask again"
            verdict = Deny(Reason.SYNCHRONIZING, message, decision=verdict.decision, node=self._node_id)
        return {"verdict": verdict, "denial": self._authorizer.sign(request, verdict)}

    async def authorize(
        self,
        request: Request,
        *,
        ttl_ms: int,
        single_use: bool,
        audience: str | None,
        at_least: int,
        timeout_s: float,
    ) -> dict[str, Any]:
        """Collect the signatures of a quorum for one request."""
        asked = Authorization(request, ttl_ms, single_use, audience, at_least)
        answer = await self._authorizer.authorize(asked, timeout_s)
        if isinstance(answer, Granted):
            return {"permit": answer.file}
        return {"deny": answer.deny, "denial": answer.file or b""}

    async def redeem(self, permit: bytes, *, timeout_s: float) -> dict[str, Any]:
        """Use up a single-use permit, given as its envelope."""
        envelope = self._authorizer.redeem_envelope(permit, f"redeem-{secrets.token_hex(16)}")
        timeout_ms = max(1, int(timeout_s * 1000))
        receipt = await self._runtime.submit(envelope, wait="effective", timeout_ms=timeout_ms)
        return {"receipt": receipt, "envelope": envelope}

    async def _examine_in_turn(
        self, schema: str, policies: Mapping[str, str], entities: list[dict[str, Any]] | None
    ) -> None:
        """Each examination is a process: few at a time, and few that wait.

        Raises:
            AvailabilityError: Too many wait already.
        """
        # SAFETY: whoever may command must not make the node start processes without end;
        # test_abuse_service.py::test_few_proposals_are_examined_at_a_time
        if self._examinations >= EXAMINATIONS_WAITING_MAX:
            message = "too many policies and entities wait to be examined; try again"
            raise AvailabilityError(message, code="queue_full")
        self._examinations += 1
        try:
            async with self._examining:
                await self._examine(schema, policies, entities)
        finally:
            self._examinations -= 1

    def read(self, what: str, params: dict[str, Any]) -> object | Awaitable[object]:
        """Read governance state; every page bounded."""
        reader = self._reads.get(what)
        if reader is None:
            raise InputError(f"cannot read `{what[:64]}`; choose one of {', '.join(sorted(self._reads))}")
        return reader(params)

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """Each new certificate, and the node's standing whenever it changes."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        if self._unlisten is None:
            self._unlisten = self._runtime.listen(self._look)
        last_certified, last_standing = -1, ""
        try:
            while not self._runtime.is_halted:
                # First: what changes while an event is on its way must be looked at again.
                changed.clear()
                convergence = self._core.convergence
                if convergence.certified_seq != last_certified:
                    last_certified = convergence.certified_seq
                    root = self._core.machine.lineage.root(last_certified).hex() if last_certified else ""
                    yield {"event": "certified", "seq": last_certified, "root": root}
                standing = self._standing()[0]
                if standing != last_standing:
                    last_standing = standing
                    yield {"event": "status", **self._status({})}
                await changed.wait()
        finally:
            self._watchers.discard(changed)
            if not self._watchers and self._unlisten is not None:
                self._unlisten()
                self._unlisten = None

    def _look(self) -> None:
        """Wake the watchers if there is anything new: looked up once a turn, however many they are."""
        seen = (self._core.convergence.certified_seq, self._standing()[0])
        if seen != self._seen:
            self._seen = seen
            for changed in self._watchers:
                changed.set()

    # Reads.

    def _standing(self) -> tuple[str, str]:
        standing = self._core.gate.standing()
        return ("allow", "") if standing.lease is not None else (standing.reason.value, standing.message)

    def _status(self, params: dict[str, Any]) -> dict[str, Any]:
        del params
        core, machine, now = self._core, self._core.machine, self._clock.boottime()
        convergence, sequencer = core.convergence, core.sequencer
        lease = convergence.lease
        member = machine.electorate.find(self._node_id)
        active = machine.active_policies
        standing, message = self._standing()
        return {
            "node": self._node_id,
            "version": VERSION,
            "cluster": machine.cluster_id,
            "name": machine.genesis.name,
            "term": sequencer.term,
            "term_jumps": dict(sequencer.term_jumps),
            "leader_hint": sequencer.leader_hint,
            "is_leader": sequencer.is_leader,
            "observer": member is None or not member.voter,
            "seq": machine.seq,
            "certified_seq": convergence.certified_seq,
            "committed_index": sequencer.commit_index,
            "lease_ms": max(0, (lease.end - now) // NS_PER_MS) if lease is not None else 0,
            "standing": standing,
            "message": message,
            "db_bytes": self._database_bytes(),
            "uptime_ms": (now - self._started) // NS_PER_MS,
            "links": sorted(core.links),
            "rejected_messages": convergence.rejected_messages,
            "isolation": isolation_view(convergence.isolation),
            "late": convergence.late_store.status(),
            "voters": len(machine.electorate.voters),
            "quorum": machine.electorate.quorum_count,
            "time": machine.time,
            "root": machine.root.hex(),
            "rules": machine.rules,
            "rules_known": RULES_NEWEST,
            "state_root": machine.state_root.hex(),
            "policy_version": 0 if active is None else active.version,
            "equivocators": sorted(convergence.witness.equivocators),
            "decisions": None if self._decisions is None else self._decisions.status(),
            **self._process_status(),
        }

    def _database_bytes(self) -> int:
        """Size of the database and its write-ahead log."""
        files = (self._database, self._database.with_name(self._database.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _certificate(self, params: dict[str, Any]) -> dict[str, Any]:
        del params
        convergence = self._core.convergence
        return {"seq": convergence.certified_seq, "note": convergence.certified_note}

    def _genesis(self, params: dict[str, Any]) -> bytes:
        del params
        return self._core.machine.genesis.encode()

    def _members(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        del params
        return [
            {"id": item.id, "voter": item.voter, "address": item.address, "public_key": item.public_key.hex()}
            for item in self._core.machine.electorate.members
        ]

    def _epochs(self, params: dict[str, Any]) -> dict[str, Any]:
        """The certified changes of the electorate, each with its proof: the epoch `from` and those after it."""
        epochs, first = self._core.epochs, max(_natural(params, "from", FIRST_EPOCH + 1), FIRST_EPOCH + 1)
        found = epochs.proofs(first, EPOCHS_PER_MESSAGE)
        rows = epochs.rows[first - 2 : first - 2 + len(found)]
        names = ("epoch", "seq", "lease", "records", "leaf", "proof")
        return {
            "epochs": [{name: getattr(row, name) for name in names} for row in rows],
            "next": first + len(rows) if first + len(rows) <= epochs.certified.epoch else None,
        }

    async def _lineage(self, params: dict[str, Any]) -> dict[str, Any]:
        first, last = _natural(params, "from", 1), _natural(params, "to", self._core.machine.seq)
        if first < 1:
            raise LimitExceededError("`from` must be at least 1")
        # SAFETY: old entries are read back from the disk in the node's loop: one page, then everybody else;
        # test_review_findings.py::test_one_page_of_lineage_is_put_together_in_a_turn
        async with self._paging:
            await asyncio.sleep(0)
            try:
                return await self._page(first, last)
            except CorruptionError as error:
                # SAFETY: a node whose store is damaged does not go on voting, whoever came upon the damage;
                # test_review_findings.py::test_damage_that_a_client_comes_upon_halts_the_node
                self._runtime.halt(error)
                raise

    async def _page(self, first: int, last: int) -> dict[str, Any]:
        machine = self._core.machine
        last = min(last, machine.seq, first + PAGE_MAX - 1)
        leaves: list[bytes] = []
        entries: list[bytes | None] = []
        size = 0
        stored = await self._read_leaves(first, last) if machine.leaf_bytes(first) is None and first <= last else []
        for seq in range(first, last + 1):
            # The youngest leaves may not be written yet.
            leaf = stored[seq - first] if seq - first < len(stored) else machine.leaf_bytes(seq)
            if leaf is None:
                break
            entry = self._core.entry(seq)
            size += len(leaf) + len(entry or b"")
            if leaves and size > limits.FRAME_BYTES:
                break
            leaves.append(leaf)
            entries.append(entry)
        return {"leaves": leaves, "entries": entries}


def _natural(params: dict[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if type(value) is not int or not 0 <= value < 2**63:
        raise DecodeError(f"`{name}` must be a whole number, 0 or more")
    return value
