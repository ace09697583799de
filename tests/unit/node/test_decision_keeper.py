import asyncio
import threading

import pytest

from govraft.core.evidence.decisions import Mask, decode_leaf, encode_noted
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Allow, Deny
from govraft.errors import StorageError
from govraft.node import decision_keeper
from govraft.node.decision_keeper import DecisionKeeper
from govraft.node.decisions import DecisionBuffer, DecisionMode
from govraft.ports.decisions import LogHead, RecordedVerdict

REQUEST = Request('Agent::"a"', 'Action::"run"', 'Tool::"t"', {"n": 1})
ALLOW = Allow(5, "ab" * 32, 10**18, ["p"], "n1-1-1", "n1")
DENY = Deny(Reason.POLICY_DENIED, "no", 5, "ab" * 32, [], [], "n1-1-2", "n1")


class Store:
    """A log in memory whose writes can be held up and made to fail."""

    def __init__(self):
        self.records, self.batches, self.failure, self.closed = [], [], None, False
        self.gate = threading.Event()
        self.gate.set()
        self.threads = set()

    def head(self):
        return LogHead("0a" * 16, len(self.records), bytes(32))

    def append(self, noted):
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        self.batches.append(len(noted))
        for item in noted:
            self.records.append(decode_leaf(encode_noted(item, len(self.records), Mask())))
        return self.head()

    def consistency(self, old, new):
        return [b"%d %d" % (old, new)]

    def close(self):
        self.closed = True


class Clock:
    def boottime(self):
        return 2_000_000

    def wall(self):
        return 1_700_000_000_000


class Bench:
    def __init__(self, mode, **options):
        self.store, self.reports = Store(), []
        self.buffer = DecisionBuffer(mode, "n1", **options)
        self.keeper = DecisionKeeper(
            store=self.store, buffer=self.buffer, clock=Clock(), node="n1", report=self.reports.append
        )

    def keep(self, verdict=ALLOW, request=REQUEST):
        return self.keeper.keep(request, verdict, time=77, began=1_000_000)

    async def until(self, condition):
        for _ in range(2_000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it did not happen")


@pytest.fixture
def run(monkeypatch):
    """Runs a scenario on a loop, with short times."""
    monkeypatch.setattr(decision_keeper, "FLUSH_S", 0.005)
    monkeypatch.setattr(decision_keeper, "RETRY_S", 0.005)
    monkeypatch.setattr(decision_keeper, "STRICT_WAIT_S", 0.05)
    monkeypatch.setattr(decision_keeper, "STOP_S", 0.2)

    def start(scenario, mode=DecisionMode.STRICT, **options):
        async def main():
            bench = Bench(mode, **options)
            try:
                await asyncio.wait_for(scenario(bench), 10)
            finally:
                bench.store.gate.set()
                await bench.keeper.stop()

        asyncio.run(main())

    return start


def test_a_best_effort_decision_leaves_at_once_and_is_recorded_soon(run):
    async def scenario(bench):
        assert bench.keep() is ALLOW
        assert bench.keep(DENY) is DENY
        await bench.until(lambda: len(bench.store.records) == 2)
        allow, deny = bench.store.records
        assert (allow.verdict, allow.decision, allow.time, allow.latency_us) == ("allow", "n1-1-1", 77, 1000)
        assert (allow.seq, allow.state_root, allow.policies, allow.source) == (5, "ab" * 32, ["p"], "check")
        assert (deny.verdict, deny.reason, deny.message) == ("deny", "policy_denied", "no")
        assert bench.store.threads == {"govraft-decisions_0"}

    run(scenario, DecisionMode.BEST_EFFORT)


def test_many_decisions_do_not_wait(run, monkeypatch):
    async def scenario(bench):
        monkeypatch.setattr(decision_keeper, "FLUSH_S", 60)
        for _ in range(decision_keeper.FLUSH_RECORDS):
            bench.keep()
        await bench.until(lambda: len(bench.store.records) == decision_keeper.FLUSH_RECORDS)

    run(scenario, DecisionMode.BEST_EFFORT)


def test_an_allow_leaves_once_its_record_is_durable(run):
    async def scenario(bench):
        bench.store.gate.clear()
        kept = bench.keep()
        assert isinstance(kept, RecordedVerdict)
        await asyncio.sleep(0.01)
        assert not kept.done()
        bench.store.gate.set()
        assert await kept is ALLOW
        assert bench.store.records[0].decision == ALLOW.decision

    run(scenario)


def test_a_denial_leaves_at_once_and_is_recorded(run):
    async def scenario(bench):
        assert bench.keep(DENY) is DENY
        await bench.until(lambda: bench.store.records)

    run(scenario)


def test_allows_that_come_while_the_disk_syncs_are_written_together(run):
    async def scenario(bench):
        bench.store.gate.clear()
        kept = [bench.keep() for _ in range(50)]
        await asyncio.sleep(0.005)
        bench.store.gate.set()
        assert await asyncio.gather(*kept) == [ALLOW] * 50
        assert bench.store.batches == [1, 49]

    run(scenario)


def test_a_disk_that_fails_denies_in_strict_mode_until_it_works(run):
    async def scenario(bench):
        bench.store.failure = StorageError("disk full")
        deny = await bench.keep()
        assert (deny.reason, deny.decision, deny.seq) == (Reason.INTERNAL_ERROR, ALLOW.decision, 5)
        assert "disk full" in deny.message
        second = bench.keep()
        assert isinstance(second, Deny)
        assert bench.keeper.status()["failure"] == "disk full"
        bench.store.failure = None
        await bench.until(lambda: not bench.buffer.failure)
        assert await bench.keep() is ALLOW
        # Each denial is in the log, each allow that was taken back is not.
        assert [record.verdict for record in bench.store.records] == ["deny", "deny", "allow"]
        assert {record.reason for record in bench.store.records} == {"internal_error", ""}
        assert bench.reports == ["disk full"]

    run(scenario)


def test_a_disk_that_fails_costs_nothing_but_records_in_best_effort(run):
    async def scenario(bench):
        bench.store.failure = StorageError("disk full")
        assert all(bench.keep() is ALLOW for _ in range(10))
        await bench.until(lambda: bench.buffer.failures)
        status = bench.keeper.status()
        assert status["failure"] == "disk full" and status["dropped"] == 6 and status["pending"] == 4
        bench.store.failure = None
        await bench.until(lambda: len(bench.store.records) == 5)
        assert bench.store.records[-1].dropped == 6

    run(scenario, DecisionMode.BEST_EFFORT, records_max=4)


def test_a_disk_that_does_not_answer_denies_in_strict_mode(run):
    async def scenario(bench):
        bench.store.gate.clear()
        first, second = bench.keep(), bench.keep()
        for kept in (first, second):
            deny = await kept
            assert (deny.reason, "has not answered" in deny.message) == (Reason.INTERNAL_ERROR, True)
        assert isinstance(bench.keep(), Deny)
        bench.store.gate.set()
        await bench.until(lambda: not bench.buffer.failure)
        assert await bench.keep() is ALLOW

    run(scenario)


@pytest.mark.parametrize("error", [OSError("x"), ValueError("x"), MemoryError()])
def test_an_unexpected_failure_of_the_log_denies_too(run, error):
    async def scenario(bench):
        bench.store.failure = error
        deny = await bench.keep()
        assert isinstance(deny, Deny) and type(error).__name__ in deny.message

    run(scenario)


def test_what_cannot_be_noted_denies_in_strict_mode(run, monkeypatch):
    async def scenario(bench):
        monkeypatch.setattr(bench.buffer, "add", lambda *_: 1 / 0)
        deny = bench.keep()
        assert isinstance(deny, Deny) and deny.reason is Reason.INTERNAL_ERROR
        assert bench.keep(DENY) is DENY
        bench.keeper.note_denial(DENY)
        assert bench.buffer.dropped == 3 and len(bench.reports) == 3

    run(scenario)


def test_what_cannot_be_noted_costs_its_record_in_best_effort(run, monkeypatch):
    async def scenario(bench):
        monkeypatch.setattr(bench.buffer, "add", lambda *_: 1 / 0)
        assert bench.keep() is ALLOW
        assert bench.keeper.status()["dropped"] == 1

    run(scenario, DecisionMode.BEST_EFFORT)


def test_a_full_buffer_denies_in_strict_mode(run):
    async def scenario(bench):
        bench.store.gate.clear()
        kept = [bench.keep() for _ in range(4)]
        assert [isinstance(item, Deny) for item in kept] == [False, False, False, True]
        bench.store.gate.set()
        assert [await item for item in kept[:3]] == [ALLOW] * 3

    run(scenario, records_max=2)


def test_whoever_gives_up_disturbs_nobody(run):
    async def scenario(bench):
        bench.store.gate.clear()
        first, second = bench.keep(), bench.keep()
        first.cancel()
        bench.store.gate.set()
        assert await second is ALLOW
        assert len(bench.store.records) == 2

    run(scenario)


@pytest.mark.parametrize("context", [{"x": 1.5}, {"x": 2**70}, {"x": "\ud800"}, {"x": object()}])
def test_a_request_that_cannot_be_kept_is_recorded_without_it(run, context):
    async def scenario(bench):
        assert bench.keep(DENY, Request("a", "b", "c", context)) is DENY
        await bench.until(lambda: bench.store.records)
        assert bench.store.records[0].request is None

    run(scenario)


def test_denials_of_the_api_are_recorded(run):
    async def scenario(bench):
        bench.keeper.note_denial(Deny(Reason.REQUEST_INVALID, "too large"))
        bench.keeper.note_denial(Deny(Reason.SYNCHRONIZING, "late", decision="n1-1-1"), None, "withdrawn")
        await bench.until(lambda: len(bench.store.records) == 2)
        edge, withdrawn = bench.store.records
        assert (edge.source, edge.seq, edge.node, edge.request) == ("edge", 0, "n1", None)
        assert (withdrawn.source, withdrawn.decision) == ("withdrawn", "n1-1-1")

    run(scenario)


def test_what_waits_is_written_before_the_log_is_closed(run, monkeypatch):
    benches = []

    async def scenario(bench):
        monkeypatch.setattr(decision_keeper, "FLUSH_S", 60)
        benches.append(bench)
        for _ in range(5):
            bench.keep()

    run(scenario, DecisionMode.BEST_EFFORT)
    (bench,) = benches
    assert (len(bench.store.records), bench.store.closed) == (5, True)


def test_a_log_that_fails_does_not_keep_the_node_from_stopping(run):
    async def scenario(bench):
        bench.store.failure = StorageError("disk full")
        bench.keep()

    run(scenario, DecisionMode.BEST_EFFORT)


def test_no_allow_is_promised_by_a_node_that_stops(run):
    async def scenario(bench):
        await bench.keeper.stop()
        assert isinstance(bench.keep(), Deny)

    run(scenario)


def test_no_allow_waits_for_a_node_that_is_about_to_stop(run):
    """Its record would come after the last write: nobody would ever be told."""

    async def scenario(bench):
        bench.store.gate.clear()
        first = bench.keep()
        stopping = asyncio.ensure_future(bench.keeper.stop())
        await asyncio.sleep(0)
        assert isinstance(bench.keep(), Deny)
        bench.store.gate.set()
        await stopping
        assert await first == ALLOW

    run(scenario)


def test_a_log_that_cannot_be_opened_is_reported_and_halts_nothing(run):
    async def scenario(bench):
        bench.store.head = lambda: (_ for _ in ()).throw(StorageError("no such disk"))
        await bench.keeper.start()
        assert bench.reports == ["no such disk"]
        assert bench.keeper.status()["log"] == ""

    run(scenario)
