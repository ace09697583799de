"""What a review of the node found, kept: each of these failed before its cause was removed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from unit.node.test_runtime import ALLOW, REQUEST, run, turns
from unit.node.test_service import Bench as ServiceBench

from govraft.core.codec.canonical import pack
from govraft.core.machine import snapshot as snapshot_module
from govraft.core.machine.records import SECTIONS
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.commands import Quarantine, TargetKind
from govraft.core.model.verdict import Deny
from govraft.errors import CorruptionError, LimitExceededError
from govraft.node import runtime as runtime_module


def test_checks_that_were_given_up_leave_their_places_at_once(monkeypatch):
    """Crowded out by `api.Waits`, the checks of a greedy client must not keep those of the others from waiting."""
    monkeypatch.setattr(runtime_module, "WAITING_CHECKS_MAX", 4)

    async def test(bench):
        await turns()
        for _ in range(10):
            future = bench.runtime.check(REQUEST, 0)
            assert not isinstance(future, Deny)
            future.cancel()
            # Its callbacks; the core does not turn meanwhile.
            await asyncio.sleep(0)

    run(test)


def test_checks_that_wait_in_vain_do_not_stand_before_the_others(monkeypatch):
    """However many ask for a seq far ahead, and in whatever order: one turn answers whoever can be answered."""
    monkeypatch.setattr(runtime_module, "CHECKS_PER_TURN", 4)

    async def test(bench):
        await turns()
        asked = []

        def check(request: object, *, at_least: int = 0) -> object:
            asked.append(at_least)
            return ALLOW if at_least <= 5 else None

        vain = [bench.runtime.check(REQUEST, 2**60 - number) for number in range(100)]
        wanted = bench.runtime.check(REQUEST, 5)
        bench.core.check = check
        bench.runtime._turn()
        assert wanted.done() and not any(future.done() for future in vain)
        # Looked at before the node settles and after it.
        assert len(asked) <= 3, "the same vain question is asked again and again"
        before = bench.core.settled
        await turns(3)
        assert bench.core.settled - before <= 1, "the node turns without end while nothing can be answered"

    run(test)


def test_damage_that_a_client_comes_upon_halts_the_node(sim, tmp_path):
    bench = ServiceBench(sim, tmp_path)

    def damaged(seq: int) -> bytes | None:
        raise CorruptionError("planted")

    halted: list[BaseException] = []
    bench.core.entry = damaged
    bench.runtime.halt = halted.append
    with pytest.raises(CorruptionError, match="planted"):
        bench.read("lineage", **{"from": 2})
    assert [str(cause) for cause in halted] == ["planted"]


def test_one_page_of_lineage_is_put_together_in_a_turn(sim, tmp_path):
    """A page may read megabytes of old entries back: a client that asks for many must not have the loop for itself."""
    bench = ServiceBench(sim, tmp_path)
    per_turn: list[int] = []
    entry = bench.core.entry

    def counted(seq: int) -> bytes | None:
        per_turn[-1] += 1
        return entry(seq)

    bench.core.entry = counted

    async def scenario() -> None:
        def count() -> None:
            per_turn.append(0)
            if not all(page.done() for page in pages):
                asyncio.get_running_loop().call_soon(count)

        pages: list[asyncio.Future[Any]] = []
        count()
        pages += [asyncio.ensure_future(bench.service.read("lineage", {"from": 2, "to": 2})) for _ in range(20)]
        count()
        answers = await asyncio.gather(*pages)
        assert all(answer == answers[0] and len(answer["leaves"]) == 1 for answer in answers)

    asyncio.run(scenario())
    assert sum(per_turn) == 20
    assert max(per_turn) == 1


UNPROVEN: dict[str, Any] = {"leaf": b"", "proof": (), "certificate": b"note", "epochs": ()}


def test_a_state_too_large_for_a_snapshot_is_not_encoded(monkeypatch):
    """Encoding holds up every thread of the process, and takes the memory of the state once more."""
    monkeypatch.setattr(snapshot_module, "SNAPSHOT_BYTES", 10_000)
    monkeypatch.setattr(snapshot_module, "pack", lambda value: pytest.fail("it was encoded"))
    sections = {name: {} for name in SECTIONS} | {"entities": {str(n): bytes(1_000) for n in range(11)}}
    large = Snapshot.make(seq=1, index=1, time=1, sections=sections, **UNPROVEN)
    with pytest.raises(LimitExceededError):
        large.encode()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 3_000, 70_000])
def test_a_snapshot_is_encoded_in_portions(monkeypatch, count):
    """The canonical bytes, though no call of the codec takes more than a portion."""
    monkeypatch.setattr(snapshot_module, "_PORTION_BYTES", 5_000)
    largest = 0

    def measured(value: object) -> bytes:
        nonlocal largest
        encoded = pack(value)
        largest = max(largest, len(encoded))
        return encoded

    monkeypatch.setattr(snapshot_module, "pack", measured)
    records = {f"é{number}" if number % 2 else f"𝄞\uffff{number}": b"x" * (number % 300) for number in range(count)}
    sections = {name: {} for name in SECTIONS} | {"entities": records, "audit": {"a": b""}}
    one = Snapshot.make(seq=7, index=9, time=11, sections=sections, **UNPROVEN)
    encoded = one.encode()
    assert largest < 7_000
    assert encoded[:-32] == pack({name: getattr(one, name) for name in one.__struct_fields__})
    assert Snapshot.decode(encoded) == one


@pytest.mark.parametrize("is_applied", [False, True], ids=["pending", "applied, not certified"])
def test_copies_of_one_command_take_few_places(sim, is_applied):
    """Anybody who has seen an envelope can hand it in again; its author, and all others, still find a place."""
    core, node = sim.core("b"), sim.nodes["b"]

    def seal(name: str) -> bytes:
        command = Quarantine(**sim.header(name), kind=TargetKind.SUBJECT, id=f'Agent::"{name}"', reason="seen")
        return sim.envelope(command, "operator-1")

    copied = seal("copied")
    if is_applied:
        sim.commit_envelopes(copied)
        node.core.settle()
        assert core.machine.known_command("copied") is not None
        assert core.convergence.certified_seq < core.machine.seq
    refused: list[object] = []
    for _ in range(5_000):
        core.submit(copied, wait="effective", timeout_ms=60_000, done=refused.append)
    assert {error.code for error in refused} == {"queue_full"}
    assert len(refused) > 4_900
    said: list[object] = []
    core.submit(seal("urgent"), wait="effective", timeout_ms=60_000, done=said.append)
    assert said == []
    # What was given up leaves room again.
    core.submissions._expire(2**62)
    core.submit(copied, wait="effective", timeout_ms=60_000, done=said.append)
    assert [getattr(answer, "code", "") for answer in said] in ([], ["unavailable"])
    assert len(core.submissions._places.copies) == 1
