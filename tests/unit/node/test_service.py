import asyncio

import pytest

from govraft.core.model.commands import EntityFields, EntityPut, PolicyPublish
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import AvailabilityError, InputError, LimitExceededError, RejectedError
from govraft.node import service as service_module
from govraft.node.gate import Standing
from govraft.node.service import NodeService


class FakeRuntime:
    def __init__(self, core):
        self.core = core
        self.is_halted = False
        self.submitted = []
        self.listeners = []

    def check(self, request, at_least):
        return self.core.check(request, at_least=at_least)

    async def submit(self, envelope, *, wait, timeout_ms, at_least):
        self.at_least = at_least
        self.submitted.append((envelope, wait, timeout_ms))
        return {"seq": 1}

    def listen(self, listener):
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


class Bench:
    def __init__(self, sim, tmp_path):
        self.sim, self.core = sim, sim.core()
        self.runtime = FakeRuntime(self.core)
        self.examined = []
        self.failure = None
        self.stored_reads = []
        self.service = NodeService(
            runtime=self.runtime,
            node_id="b",
            clock=sim.nodes["b"].clock,
            examine=self.examine,
            read_leaves=self.read_leaves,
            database=tmp_path / "none.db",
        )

    async def examine(self, schema, policies, entities):
        self.examined.append((schema, dict(policies), entities))
        if self.failure is not None:
            raise self.failure

    async def read_leaves(self, first, last):
        self.stored_reads.append((first, last))
        return [row.leaf for row in self.sim.nodes["b"].disk.leaves[first - 1 : last]]

    def submit(self, envelope):
        return asyncio.run(self.service.submit(envelope, wait="effective", timeout_s=0.5, retry=False))

    def read(self, what, **params):
        found = self.service.read(what, params)
        return asyncio.run(found) if asyncio.iscoroutine(found) else found


@pytest.fixture
def bench(sim, tmp_path):
    return Bench(sim, tmp_path)


def publish(sim, *policies, schema=None, removed=()):
    versions = sim.core().machine.policy_versions
    command = PolicyPublish(
        **sim.header("next"),
        version=2,
        expected=versions[-1].digest,
        schema=schema,
        policies=policies,
        removed=removed,
    )
    return sim.envelope(command, "policy-1")


# Submitting.


def test_commands_without_text_are_handed_on_unread(bench):
    envelope = bench.sim.quarantine("c")
    assert bench.submit(envelope) == {"seq": 1}
    assert bench.runtime.submitted == [(envelope, "effective", 500)]
    assert bench.examined == []


@pytest.mark.parametrize("envelope", [b"", b"junk", b'{"payload":"","payloadType":"x","signatures":[]}'])
def test_what_cannot_be_read_is_left_to_the_machine(bench, envelope):
    bench.submit(envelope)
    assert bench.runtime.submitted
    assert bench.examined == []


def test_added_policies_are_examined_under_the_schema_they_join(bench):
    bench.submit(publish(bench.sim, "permit(principal, action, resource);"))
    ((schema, policies, entities),) = bench.examined
    assert schema == bench.core.machine.active_policies.schema
    assert list(policies.values()) == ["permit(principal, action, resource);"]
    assert entities is None


def test_a_new_schema_is_examined_with_every_policy_that_stays(bench):
    bench.submit(publish(bench.sim, "permit(principal, action, resource);", schema="entity A;"))
    ((schema, policies, _),) = bench.examined
    assert schema == "entity A;"
    assert len(policies) == 2
    kept = tuple(bench.core.machine.active_policies.policies)
    bench.submit(publish(bench.sim, schema="entity A;", removed=kept))
    assert bench.examined[1][1] == {}


def test_entities_are_examined_under_the_active_schema(bench):
    put = EntityPut(**bench.sim.header("p"), entities=(EntityFields('Agent::"x"', {}, ('Group::"g"',)),))
    bench.submit(bench.sim.envelope(put, "operator-1"))
    ((_, policies, entities),) = bench.examined
    assert policies == {}
    assert entities == [{"uid": {"type": "Agent", "id": "x"}, "attrs": {}, "parents": [{"type": "Group", "id": "g"}]}]


@pytest.mark.parametrize(
    ("code", "expected"), [("policy_hazardous", "policy_hazardous"), ("engine_refused", "policy_invalid")]
)
def test_what_does_not_pass_examination_is_not_proposed(bench, code, expected):
    bench.failure = InputError("bad", code=code)
    with pytest.raises(RejectedError) as caught:
        bench.submit(publish(bench.sim, "permit(principal, action, resource);"))
    assert caught.value.code == expected
    put = EntityPut(**bench.sim.header("p"), entities=(EntityFields('Agent::"x"', {}, ()),))
    with pytest.raises(RejectedError) as caught:
        bench.submit(bench.sim.envelope(put, "operator-1"))
    assert caught.value.code == "entity_invalid"
    assert bench.runtime.submitted == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_content_is_refused_for_good_under_a_live_lease_only(bench, when):
    """The schema that it does not fit may be an old one. It is not handed on either: nobody else would parse it."""
    gate, standing = bench.core.gate, bench.core.gate.standing
    answers = {"before": [0, 1], "after": [1, 0]}[when]
    lost = Standing(None, Reason.LEASE_EXPIRED)
    gate.standing = lambda at_least=0: standing(at_least) if answers.pop(0) else lost
    bench.failure = InputError("bad", code="policy_hazardous")
    with pytest.raises(AvailabilityError) as caught:
        bench.submit(publish(bench.sim, "permit(principal, action, resource);"))
    assert (caught.value.code, caught.value.definite) == ("unavailable", True)
    assert bench.runtime.submitted == []


def test_the_seq_that_its_author_asks_for_is_handed_on(bench):
    envelope = bench.sim.quarantine("c")
    asyncio.run(bench.service.submit(envelope, wait="effective", timeout_s=0.5, retry=False, at_least=7))
    assert bench.runtime.at_least == 7


def test_an_examination_that_cannot_be_made_proposes_nothing(bench):
    bench.failure = AvailabilityError("no process")
    with pytest.raises(AvailabilityError):
        bench.submit(publish(bench.sim, "permit(principal, action, resource);"))
    assert bench.runtime.submitted == []


# Reading.


def test_a_check_is_answered_by_the_gate(bench):
    assert bench.service.check(Request('Agent::"a"', 'Action::"run"', 'Tool::"t"'), at_least=0, explain=False).allowed


def test_the_status_says_what_is(bench):
    status = bench.read("status")
    assert status["node"] == "b"
    assert status["standing"] == "allow"
    assert status["seq"] == status["certified_seq"] == 3
    assert status["leader_hint"] == "a"
    assert 0 < status["lease_ms"] <= 990
    assert (status["voters"], status["quorum"], status["observer"]) == (3, 2, False)
    assert status["policy_version"] == 1
    assert status["isolation"] is None
    assert status["root"] == bench.core.machine.root.hex()
    bench.sim.partition("b")
    bench.sim.step(1500)
    status = bench.read("status")
    assert status["standing"] == "partition_ambiguous"
    assert status["lease_ms"] == 0


def test_each_read_answers_with_what_the_machine_holds(bench):
    sim, machine = bench.sim, bench.core.machine
    sim.commit_envelopes(sim.put("p", 'Agent::"a"'), sim.quarantine("q", 'Agent::"a"'))
    sim.step(300)
    assert bench.read("certificate") == {"seq": 5, "note": bench.core.convergence.certified_note}
    assert bench.read("genesis") == sim.genesis.encode()
    assert [item["id"] for item in bench.read("members")] == ["a", "b", "c"]
    policies = bench.read("policies")
    assert policies["active"]["version"] == 1
    assert [item["policies"] for item in policies["versions"]] == [1]
    assert bench.read("policy") == bench.read("policy", version=1)
    assert bench.read("policy")["policies"] == dict(machine.active_policies.policies)
    assert bench.read("entity", uid='Agent::"a"')["attrs"] == {}
    authorities = bench.read("authorities")
    assert [item["id"] for item in authorities["authorities"]] == ["operator-1", "policy-1", "root-1"]
    (mark,) = bench.read("marks")
    assert (mark["kind"], mark["id"], mark["mark"], mark["seq"]) == ("subject", 'Agent::"a"', "quarantined", 5)


def test_entities_come_in_pages(bench):
    sim = bench.sim
    sim.commit_envelopes(*[sim.put(f"p{n}", f'Agent::"{n}"') for n in range(5)])
    sim.step(300)
    page = bench.read("entities", limit=2)
    assert [item["uid"] for item in page["entities"]] == ['Agent::"0"', 'Agent::"1"']
    seen, after = [], ""
    while after is not None:
        page = bench.read("entities", limit=2, after=after)
        seen += [item["uid"] for item in page["entities"]]
        after = page["next"]
    assert seen == [f'Agent::"{n}"' for n in range(5)]
    assert bench.read("entities", after="zzz") == {"entities": [], "next": None}


def test_the_lineage_comes_in_bounded_pages(bench, monkeypatch):
    machine = bench.core.machine
    whole = bench.read("lineage")
    assert whole["leaves"] == [machine.leaf_bytes(seq) for seq in (1, 2, 3)]
    assert whole["entries"] == [None, bench.core.entry(2), bench.core.entry(3)]
    assert bench.read("lineage", **{"from": 2, "to": 2})["leaves"] == [machine.leaf_bytes(2)]
    assert bench.read("lineage", **{"from": 9, "to": 12})["leaves"] == []
    assert bench.read("lineage", **{"from": 3, "to": 2})["leaves"] == []
    monkeypatch.setattr(service_module, "PAGE_MAX", 2)
    assert len(bench.read("lineage")["leaves"]) == 2
    assert bench.stored_reads == []


def test_old_leaves_come_from_the_store_as_far_as_it_has_them(bench):
    machine, leaves = bench.core.machine, [bench.core.machine.leaf_bytes(seq) for seq in (1, 2, 3)]
    machine._leaves.popleft()
    assert bench.read("lineage")["leaves"] == leaves
    assert bench.stored_reads == [(1, 3)]
    del bench.sim.nodes["b"].disk.leaves[2:]
    assert bench.read("lineage")["leaves"] == leaves, "the youngest are not written yet"


@pytest.mark.parametrize(
    ("what", "params"),
    [
        ("nonsense", {}),
        ("policy", {"version": 9}),
        ("policy", {"version": -1}),
        ("policy", {"version": True}),
        ("policy", {"version": "1"}),
        ("policy", {"version": 2**63}),
        ("entity", {}),
        ("entity", {"uid": 1}),
        ("entity", {"uid": 'Agent::"nobody"'}),
        ("entities", {"after": 1}),
        ("entities", {"limit": -1}),
        ("lineage", {"from": 0}),
        ("lineage", {"to": 1.5}),
    ],
    ids=str,
)
def test_a_senseless_read_is_an_input_error(bench, what, params):
    with pytest.raises(InputError):
        bench.read(what, **params)


def test_a_page_begins_at_one(bench):
    with pytest.raises(LimitExceededError):
        bench.read("lineage", **{"from": 0, "to": 5})


# Watching.


def test_a_watcher_hears_of_certificates_and_of_standing(bench):
    async def watch() -> list[dict]:
        events = []
        stream = bench.service.subscribe()
        events += [await anext(stream), await anext(stream)]
        bench.sim.commit()
        bench.sim.advance("a", "b", "c")
        bench.sim.step(300)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        for listener in list(bench.runtime.listeners):
            listener()
        events.append(await waiting)
        await stream.aclose()
        return events

    events = asyncio.run(watch())
    assert [event["event"] for event in events] == ["certified", "status", "certified"]
    assert [event["seq"] for event in events] == [3, 3, 4]
    assert events[2]["root"] == bench.core.machine.lineage.root(4).hex()
    assert bench.runtime.listeners == [], "who leaves is forgotten"


def test_a_halted_node_has_nothing_to_watch(bench):
    bench.runtime.is_halted = True

    async def watch() -> list[dict]:
        return [event async for event in bench.service.subscribe()]

    assert asyncio.run(watch()) == []


@pytest.mark.parametrize(("retry", "seq", "definite"), [(False, 0, True), (True, 0, False), (True, 7, True)])
def test_a_rejected_retry_says_nothing_of_the_earlier_try(bench, retry, seq, definite):
    """Unless it is the log that rejected it."""

    async def submit(envelope, *, wait, timeout_ms, at_least):
        raise RejectedError("no", code="policy_unknown", **({"seq": seq} if seq else {}))

    bench.runtime.submit = submit
    envelope = bench.sim.quarantine("c1")
    with pytest.raises(RejectedError) as rejected:
        asyncio.run(bench.service.submit(envelope, wait="effective", timeout_s=0.5, retry=retry))
    assert (rejected.value.code, rejected.value.definite) == ("policy_unknown", definite)
