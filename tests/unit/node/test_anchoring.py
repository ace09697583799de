import asyncio

import pytest

from govraft.core.codec.envelope import decode_envelope
from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.units import WallMs
from govraft.errors import AvailabilityError, StorageError
from govraft.node import anchoring as anchoring_module
from govraft.node.anchoring import Anchoring
from govraft.ports.decisions import LogHead
from govraft.testing.sample import CREATED, SampleCluster


class Keeper:
    """A decision log of bytes."""

    def __init__(self, log="0a" * 16):
        self.log, self.tree, self.anchors, self.failure = log, MerkleTree(), [], None

    def grow(self, count):
        for _ in range(count):
            self.tree.append(b"%d" % self.tree.size)

    @property
    def head(self):
        return LogHead(self.log, self.tree.size, self.tree.root())

    async def run(self, work):
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return work(self)

    def consistency(self, old, new):
        return self.tree.consistency_proof(old, new)

    def keep_anchor(self, anchor):
        self.anchors.append(anchor)


class Signer:
    def __init__(self, key):
        self._key = key

    @property
    def public_key(self):
        return self._key.public_key().public_bytes_raw()

    def sign(self, message):
        return self._key.sign(message)


class Bench:
    def __init__(self):
        self.sample = SampleCluster()
        self.machine, self.keeper, self.reports = Machine(self.sample.genesis), Keeper(), []
        self.failure, self.submitted = None, []

    def make(self, period_s=1000.0):
        return Anchoring(
            keeper=self.keeper,
            machine=self.machine,
            node="n1",
            signer=Signer(self.sample.node_keys["n1"]),
            clock=self,
            submit=self.submit,
            period_s=period_s,
            report=self.reports.append,
        )

    def wall(self):
        return CREATED + 1_000

    async def submit(self, envelope, timeout_ms):
        self.submitted.append(envelope)
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        applied = self.machine.apply(encode_entry(WallMs(CREATED + 1_000), envelope))
        assert applied.outcome.code == "applied", applied.outcome
        return {"seq": applied.seq}


@pytest.fixture
def bench():
    return Bench()


def test_what_grew_is_anchored_and_remembered(bench):
    async def scenario():
        anchoring = bench.make()
        for count, anchored in ((0, False), (5, True), (0, False), (300, True), (1, True)):
            bench.keeper.grow(count)
            assert await anchoring.anchor() is anchored
        return anchoring

    anchoring = asyncio.run(scenario())
    anchor = bench.machine.anchors["n1"]
    assert (anchor.size, anchor.root, anchor.log) == (306, bench.keeper.tree.root(), "0a" * 16)
    assert [(item.size, item.seq) for item in bench.keeper.anchors] == [(5, 2), (305, 3), (306, 4)]
    assert (anchoring.anchored, anchoring.failures, bench.reports) == (3, 0, [])
    assert decode_envelope(bench.submitted[0]).payload_type == "application/vnd.govraft.audit.anchor.v1+json"


def test_another_log_begins_again(bench):
    async def scenario():
        anchoring = bench.make()
        bench.keeper.grow(5)
        await anchoring.anchor()
        bench.keeper = anchoring._keeper = Keeper("0b" * 16)
        bench.keeper.grow(2)
        assert await anchoring.anchor()

    asyncio.run(scenario())
    assert (bench.machine.anchors["n1"].previous, bench.machine.anchors["n1"].size) == ("0a" * 16, 2)


def test_a_log_that_went_back_in_time_is_reported_and_not_anchored(bench):
    async def scenario():
        anchoring = bench.make()
        bench.keeper.grow(5)
        await anchoring.anchor()
        bench.keeper.tree = MerkleTree()
        bench.keeper.grow(3)
        assert not await anchoring.anchor()

    asyncio.run(scenario())
    assert len(bench.submitted) == 1
    assert "went back in time" in bench.reports[0]


@pytest.mark.parametrize("failure", [AvailabilityError("no leader"), StorageError("disk")])
def test_what_fails_is_reported_and_tried_again(bench, failure):
    async def scenario():
        anchoring = bench.make()
        bench.keeper.grow(5)
        bench.failure = failure
        assert not await anchoring.anchor()
        assert anchoring.failures == 1 and str(failure) in bench.reports[0]
        bench.failure = None
        bench.keeper.grow(1)
        assert await anchoring.anchor()

    asyncio.run(scenario())
    assert bench.machine.anchors["n1"].size == 6


def test_one_anchor_is_under_way_at_a_time(bench):
    async def scenario():
        anchoring = bench.make()
        bench.keeper.grow(5)
        assert sorted(await asyncio.gather(*(anchoring.anchor() for _ in range(5)))) == [False] * 4 + [True]

    asyncio.run(scenario())
    assert len(bench.submitted) == 1


def test_it_looks_from_time_to_time(bench):
    async def scenario():
        anchoring = bench.make(period_s=0.001)
        anchoring.start()
        for count in (3, 4):
            bench.keeper.grow(count)
            while bench.machine.anchors.get("n1") is None or bench.machine.anchors["n1"].size != bench.keeper.tree.size:
                await asyncio.sleep(0.001)
        await anchoring.stop()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_node_that_stops_anchors_what_is_new_if_it_is_quick(bench, monkeypatch):
    monkeypatch.setattr(anchoring_module, "STOP_S", 0.01)

    async def scenario():
        anchoring = bench.make()
        anchoring.start()
        bench.keeper.grow(5)
        await anchoring.stop()
        assert bench.submitted == []  # Not anchored in this life: the next one does it.
        await anchoring.anchor()
        bench.keeper.grow(1)
        await anchoring.stop()
        assert bench.machine.anchors["n1"].size == 6
        bench.keeper.grow(1)
        bench.submit = None

        async def never(envelope, timeout_ms):
            await asyncio.Event().wait()

        anchoring._submit = never
        await anchoring.stop()
        assert "not anchored" in bench.reports[-1]

    asyncio.run(scenario())
