from collections import Counter

import pytest
from sim_cluster import LEASE_MS, SimCluster, raw
from simulation.checkers import history

from govraft.core.codec.canonical import pack
from govraft.core.codec.envelope import decode_envelope, encode_envelope, pae, seal
from govraft.core.codec.note import Checkpoint, parse_note
from govraft.core.crypto.digests import digest
from govraft.core.lineage.proofs import verify_inclusion
from govraft.core.model import limits
from govraft.core.model.commands import Quarantine, TargetKind, encode_command, payload_type
from govraft.errors import AvailabilityError, RejectedError

SUBMISSION = 3


@pytest.fixture
def sim() -> SimCluster:
    sim = SimCluster()
    sim.run_until(sim.all_serving)
    return sim


def follower(sim: SimCluster) -> str:
    return next(name for name in sim.nodes if name != sim.leader.id)


def worked(sim: SimCluster, name: str = "node-1") -> list[str]:
    return [command_id for command_id, outcome in history(sim.nodes[name].core) if outcome == "applied"]


@pytest.mark.parametrize("at", ["leader", "follower"])
def test_an_effective_receipt_proves_itself(sim, at):
    name = sim.leader.id if at == "leader" else follower(sim)
    answers = sim.submit(name, sim.quarantine("c"))
    sim.run_until(lambda: answers)
    receipt = answers[0]
    assert receipt["outcome"] == "applied"
    assert receipt["command_id"] == "c"
    assert receipt["certified_seq"] >= receipt["seq"] == 2
    checkpoint = Checkpoint.decode(parse_note(receipt["certificate"]).body)
    assert checkpoint.seq == receipt["certified_seq"]
    verify_inclusion(receipt["leaf"], receipt["seq"] - 1, checkpoint.seq, receipt["proof"], checkpoint.root)
    sim.step(100)
    assert len(answers) == 1


def test_committed_comes_before_effective(sim):
    sim.tap = lambda source, target, channel, payload: None if channel == 2 else payload
    committed = sim.submit(sim.leader.id, sim.quarantine("c"), wait="committed")
    effective = sim.submit(sim.leader.id, sim.quarantine("d"))
    sim.run_until(lambda: committed)
    assert committed[0]["seq"] == 2
    assert committed[0]["certified_seq"] == 0
    assert "certificate" not in committed[0]
    assert not effective


def test_no_waiting_means_no_waiting(sim):
    answers = sim.submit(follower(sim), sim.quarantine("c"), wait="none")
    assert answers == [{"seq": 0, "outcome": "pending", "certified_seq": 0, "command_id": "c"}]
    sim.step(300)
    assert len(answers) == 1
    assert worked(sim) == ["c"]


def test_no_waiting_for_a_command_that_is_known_already(sim):
    envelope = sim.quarantine("c")
    sim.submit(follower(sim), envelope, wait="none")
    sim.step(300)
    answers = sim.submit(follower(sim), envelope, wait="none")
    sim.step(50)
    assert [answer["outcome"] for answer in answers] == ["pending"]


def test_an_unknown_way_to_wait_is_refused(sim):
    answers = sim.submit("node-1", sim.quarantine("c"), wait="forever")
    assert isinstance(answers[0], AvailabilityError)


def test_a_retry_is_answered_with_what_became_of_the_command(sim):
    envelope = sim.quarantine("c")
    first = sim.submit("node-1", envelope)
    sim.run_until(lambda: first)
    for name in sim.nodes:
        again = sim.submit(name, envelope)
        sim.run_until(lambda again=again: again)
        assert again[0]["seq"] == first[0]["seq"]
    assert worked(sim) == ["c"]


def test_one_command_handed_in_everywhere_at_once_works_once(sim):
    envelope = sim.put("c")
    answers = [sim.submit(name, envelope) for name in sim.nodes for _ in range(3)]
    sim.run_until(lambda: all(answers))
    assert {answer[0]["seq"] for answer in answers} == {2}
    assert worked(sim) == ["c"]


def test_the_same_command_sealed_differently_is_the_same_command(sim):
    """Two envelopes of one signed payload are on their way at once; both clients learn of the one that worked."""
    first = sim.put("c")
    second = encode_envelope(decode_envelope(first)).replace(b'","payloadType"', b'", "payloadType"')
    assert first != second
    one, other = sim.submit("node-1", first), sim.submit("node-2", second)
    sim.run_until(lambda: one and other)
    assert one[0]["seq"] == other[0]["seq"]
    assert worked(sim) == ["c"]


def test_another_command_under_a_used_id_is_refused(sim):
    first = sim.submit("node-1", sim.quarantine("c"))
    sim.run_until(lambda: first)
    answers = sim.submit("node-1", sim.quarantine("c", 'Agent::"other"'))
    sim.run_until(lambda: answers)
    assert isinstance(answers[0], RejectedError)
    assert answers[0].code == "duplicate_command"


def test_what_the_machine_would_reject_is_not_proposed(sim):
    answers = sim.submit("node-1", b"junk") + sim.submit("node-1", b"{" * limits.ENVELOPE_BYTES)
    assert [type(answer) for answer in answers] == [RejectedError, RejectedError]
    sim.step(100)
    assert sim.nodes["node-1"].core.machine.seq == 1


def test_a_rejection_by_the_log_reaches_the_client(sim):
    """Both pass examination; in the log the second finds its target quarantined already."""
    one = sim.submit(sim.leader.id, sim.quarantine("c", 'Agent::"x"'))
    other = sim.submit(sim.leader.id, sim.quarantine("d", 'Agent::"x"'))
    sim.run_until(lambda: one and other)
    assert one[0]["outcome"] == "applied"
    assert isinstance(other[0], RejectedError)
    assert other[0].diagnostics()["seq"] == 3


def test_too_many_pending_commands_are_refused(sim, monkeypatch):
    monkeypatch.setattr(limits, "PENDING_SUBMITS", 3)
    sim.partition("node-1")
    answers = [sim.submit("node-1", sim.quarantine(f"c{n}"), timeout_ms=500) for n in range(5)]
    assert [bool(answer) for answer in answers] == [False, False, False, True, True]
    assert answers[3][0].code == "queue_full"
    assert answers[3][0].definite
    sim.step(600)
    assert all(answers)
    sim.heal()
    more = sim.submit("node-1", sim.quarantine("later"))
    sim.run_until(lambda: more)
    assert more[0]["outcome"] == "applied"


def test_a_time_out_says_that_the_outcome_is_unknown(sim):
    """The frame was handed to the network; nobody knows whether the leader got it."""
    name = follower(sim)
    sim.tap = lambda source, target, channel, payload: None if channel == SUBMISSION else payload
    answers = sim.submit(name, sim.quarantine("c"), timeout_ms=300)
    sim.step(299)
    assert not answers
    sim.step(2)
    assert answers[0].code == "outcome_unknown"
    assert not answers[0].definite


def test_a_time_out_after_the_entry_was_applied_is_one_too(sim):
    sim.tap = lambda source, target, channel, payload: None if channel == 2 else payload
    answers = sim.submit(sim.leader.id, sim.quarantine("c"), timeout_ms=300)
    sim.step(302)
    assert answers[0].code == "outcome_unknown"
    assert worked(sim) == ["c"]


def test_a_command_survives_the_leader_it_was_sent_to(sim):
    leader, name = sim.leader.id, follower(sim)
    sim.partition(leader)
    answers = sim.submit(name, sim.quarantine("c"))
    sim.run_until(lambda: answers)
    assert answers[0]["outcome"] == "applied"
    sim.heal()
    sim.run_until(sim.all_serving)
    assert worked(sim, leader) == ["c"]


def test_forwarding_goes_on_until_somebody_hears_it(sim):
    name = follower(sim)
    sim.tap = lambda source, target, channel, payload: None if channel == SUBMISSION else payload
    answers = sim.submit(name, sim.quarantine("c"))
    sim.step(1200)
    sim.tap = lambda source, target, channel, payload: payload
    sim.run_until(lambda: answers, limit_ms=700)


def test_checks_go_on_under_a_stream_of_commands(sim):
    served = 0
    for number in range(60):
        sim.submit(sim.leader.id, sim.put(f"c{number}"), wait="none")
        sim.step(5)
        served += sim.serving(sim.leader.id)
    assert served > 10
    sim.step(200)
    assert len(worked(sim)) == 60


# Frames of other members.


def forwarded(envelope: bytes, name: bytes | None = None) -> bytes:
    return pack({"digest": digest("envelope", envelope) if name is None else name, "envelope": envelope})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        pack([]),
        pack({}),
        pack({"digest": 1}),
        pack({"digest": b"x"}),
        pack({"digest": b"x", "envelope": "text"}),
        pack({"digest": b"x", "code": 1, "detail": ""}),
        forwarded(b"junk"),
        forwarded(b"junk", b"x"),
        forwarded(b'{"payload":"","payloadType":"\\ud800","signatures":[]}'),
        forwarded(b'{"payload":"","payloadType":"x","signatures":[{"keyid":"\\ud800","sig":""}]}'),
        forwarded(b"[" * 60_000),
        b"\xc6" + bytes(2 << 20),
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_hostile_frames_change_nothing(sim, payload):
    for node in sim.nodes.values():
        node.core.on_frame("node-3", SUBMISSION, payload)
    sim.step(50)
    assert {node.core.machine.seq for node in sim.nodes.values()} == {1}
    assert sim.all_serving()


def test_a_leader_tells_why_it_does_not_propose(sim):
    """The follower is behind: what it still thinks possible, the leader knows to be rejected."""
    name = follower(sim)
    marked = sim.submit(name, sim.quarantine("c", 'Agent::"x"'))
    sim.run_until(lambda: marked)
    # No lease comes to it, and entries come late: the others need not wait for it.
    sim.tap = lambda source, target, channel, payload: None if target == name and channel == 2 else payload
    sim.step(2 * LEASE_MS)
    sim.delay = lambda source, target, payload: 60 if target == name else None
    freed = sim.submit(sim.leader.id, sim.lift("r", 'Agent::"x"'))
    sim.run_until(lambda: freed, limit_ms=150)
    answers = sim.submit(name, sim.lift("s", 'Agent::"x"'))
    sim.run_until(lambda: answers, limit_ms=200)
    assert isinstance(answers[0], RejectedError)
    assert not answers[0].definite


def test_only_the_leaders_refusal_counts_and_only_with_a_known_code(sim):
    name = follower(sim)
    other = next(node for node in sim.nodes if node not in (name, sim.leader.id))
    sim.tap = lambda source, target, channel, payload: None if channel == SUBMISSION else payload
    envelope = sim.quarantine("c")
    answers = sim.submit(name, envelope)
    core = sim.nodes[name].core
    refusal = {"digest": digest("envelope", envelope), "detail": "no", "code": "signature_invalid"}
    core.on_frame(other, SUBMISSION, pack(refusal))
    core.on_frame(sim.leader.id, SUBMISSION, pack({**refusal, "code": "because"}))
    core.on_frame(sim.leader.id, SUBMISSION, pack({**refusal, "digest": bytes(32)}))
    assert not answers
    core.on_frame(sim.leader.id, SUBMISSION, pack(refusal))
    assert answers[0].code == "signature_invalid"
    assert not answers[0].definite


def test_who_does_not_lead_proposes_nothing_for_others(sim):
    name = follower(sim)
    sim.nodes[name].core.on_frame("node-1", SUBMISSION, forwarded(sim.quarantine("c")))
    sim.step(100)
    assert worked(sim) == []


def test_a_node_needs_the_authorities_signature_whoever_forwards(sim):
    command = Quarantine(**sim.header("c"), kind=TargetKind.SUBJECT, id='Agent::"a"', reason="x")
    kind, payload = payload_type(command), encode_command(command)
    key = sim.authority_keys["policy-1"]
    envelope = seal(kind, payload, [(raw(key), key.sign(pae(kind, payload)))])
    sim.leader.core.on_frame("node-3", SUBMISSION, forwarded(envelope))
    sim.step(100)
    assert sim.leader.core.machine.seq == 1


def test_clients_of_one_command_time_out_each_for_itself(sim):
    name = follower(sim)
    sim.partition(name)
    envelope = sim.quarantine("c")
    soon, late = sim.submit(name, envelope, timeout_ms=100), sim.submit(name, envelope, timeout_ms=5000)
    sim.step(150)
    assert (soon[0].code, soon[0].definite) == ("unavailable", True)
    assert not late
    sim.heal()
    sim.run_until(lambda: late)
    assert late[0]["outcome"] == "applied"
    assert len(soon) == 1


def test_nobody_is_answered_twice(sim):
    """The time is over between commit and certificate; the certificate comes later all the same."""
    sim.tap = lambda source, target, channel, payload: None if channel == 2 else payload
    answers = sim.submit(sim.leader.id, sim.quarantine("c"), timeout_ms=200)
    sim.step(250)
    assert len(answers) == 1
    sim.tap = lambda source, target, channel, payload: payload
    sim.run_until(sim.all_serving)
    sim.step(300)
    assert len(answers) == 1
    more = [sim.submit("node-1", sim.put(f"m{n}"), wait="none") for n in range(5)]
    sim.step(300)
    assert all(more), "who was answered takes no place any more"
    assert sim.nodes["node-1"].core.submissions._places.count == 0


def test_a_command_is_forwarded_only_now_and_then(sim):
    name = follower(sim)
    frames = []

    def tap(source, target, channel, payload):
        if channel == SUBMISSION:
            frames.append(payload)
            return None
        return payload

    sim.tap = tap
    sim.submit(name, sim.quarantine("c"))
    sim.step(1400)
    assert 2 <= len(frames) <= 4


def test_a_batch_is_bounded(sim, monkeypatch):
    monkeypatch.setattr(limits, "PROPOSAL_BATCH_ENTRIES", 2)
    answers = [sim.submit(sim.leader.id, sim.put(f"c{n}")) for n in range(5)]
    rounds = set()
    while not all(answers):
        sim.step()
        rounds.add(sim.leader.core.machine.seq)
    assert rounds >= {3, 5, 6}
    assert not rounds & {4}, "two at a time, and the next two once those are certified"


def test_long_commands_are_no_batch(sim):
    """Each changes a thousand records: applied together they would close the gate for seconds."""
    lists = [sim.quarantine_all(f"c{n}", [f'A::"{n}.{place:03}"' for place in range(1000)]) for n in range(4)]
    answers = [sim.submit(sim.leader.id, envelope) for envelope in lists]
    answers += [sim.submit(sim.leader.id, sim.put(f"p{n}")) for n in range(4)]
    sim.run_until(lambda: all(answers))
    told = [answer[0] for answer in answers]
    rounds = Counter(item["certified_seq"] for item in told)
    entries = [len(sim.leader.core.entry(seq)) for seq in range(2, 10)]
    assert len(rounds) > 1
    for last in rounds:
        size = sum(entries[item["seq"] - 2] for item in told if item["certified_seq"] == last)
        assert size <= limits.ROUND_BYTES


def test_a_command_that_is_queued_is_not_judged_again(sim, monkeypatch):
    leader = sim.leader.core
    envelope = sim.quarantine("c1")
    leader.on_frame("node-3", SUBMISSION, forwarded(envelope))
    judged = []
    monkeypatch.setattr(leader.machine, "examine", lambda *given: judged.append(given))
    leader.on_frame("node-3", SUBMISSION, forwarded(envelope))
    leader.settle()
    leader.on_frame("node-3", SUBMISSION, forwarded(envelope))
    assert not judged
    monkeypatch.undo()
    sim.step(300)
    assert worked(sim) == ["c1"]


def test_what_there_is_no_room_for_is_not_judged(sim, monkeypatch):
    """Its node sends it again and again: judging all of it each time would be all that the leader does."""
    monkeypatch.setattr(limits, "PENDING_SUBMITS_OF_ONE", 2)
    leader = sim.leader.core
    judged, examine = [], leader.machine.examine
    monkeypatch.setattr(leader.machine, "examine", lambda *given: judged.append(given) or examine(*given))
    for _ in range(3):
        for number in range(5):
            leader.on_frame("node-3", SUBMISSION, forwarded(sim.put(f"c{number}")))
    assert len(judged) == 2
    rejected = leader.convergence.rejected_messages
    leader.on_frame("node-3", SUBMISSION, forwarded(b"{}"))
    assert leader.convergence.rejected_messages == rejected + 1
    sim.step(300)
    assert worked(sim) == ["c0", "c1"]


def test_the_queue_of_a_leader_is_bounded(sim, monkeypatch):
    monkeypatch.setattr(limits, "PENDING_SUBMITS", 2)
    for number in range(5):
        sim.leader.core.on_frame("node-3", SUBMISSION, forwarded(sim.put(f"c{number}")))
    sim.step(300)
    assert worked(sim) == ["c0", "c1"]


def test_a_forwarded_command_must_be_named_by_its_digest(sim):
    sim.leader.core.on_frame("node-3", SUBMISSION, forwarded(sim.put("c"), bytes(32)))
    sim.step(300)
    assert worked(sim) == []


def test_a_refusal_with_a_senseless_detail_is_none(sim):
    name = follower(sim)
    sim.tap = lambda source, target, channel, payload: None if channel == SUBMISSION else payload
    envelope = sim.quarantine("c")
    answers = sim.submit(name, envelope)
    refusal = {"digest": digest("envelope", envelope), "detail": 1, "code": "signature_invalid"}
    sim.nodes[name].core.on_frame(sim.leader.id, SUBMISSION, pack(refusal))
    assert not answers
