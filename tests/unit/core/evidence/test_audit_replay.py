import pytest
from unit.core.evidence.audit_bench import LOG, SCHEMA, AuditBench, Lines, edited

from govraft.core.evidence.denial import contradicted_by
from govraft.core.evidence.replay import Mismatch, replay_decisions
from govraft.core.model.commands import GrantIssue, Isolate, PolicyActivate, PolicyPublish, TargetKind
from govraft.core.model.reasons import Reason
from govraft.errors import VerificationError


@pytest.fixture
def bench():
    return AuditBench()


def replay(bench, decisions=None, lineage=None):
    lines = bench.decisions() if decisions is None else decisions
    return replay_decisions(Lines(lines), lineage or bench.lineage(), bench.genesis)


def wrong(report):
    return [(item.index, item.problem) for item in report.mismatches]


def busy(bench, count=30):
    for number in range(count):
        bench.ask(f"a{number % 5}", "run" if number % 3 else "stop", context={"n": number * 7})
        if number % 10 == 9:
            bench.quarantine(f"a{number // 10}")
        if number % 12 == 11:
            bench.anchor()
    return bench


def test_an_honest_log_is_clean(bench):
    busy(bench).gap(3)
    bench.deny_standing()
    bench.anchor()
    report = replay(bench)
    assert report.is_clean, (report.chain, report.mismatches)
    assert sum(report.counts.values()) == 32
    assert report.counts["allow"] > 5 and report.counts["deny"] > 5
    assert (report.counts["standing"], report.counts["gap"], report.dropped) == (1, 1, 3)
    assert (report.first, report.last, report.anchored, report.anchor_seq) == (0, 32, 32, bench.machine.seq)
    assert (report.node, report.log, report.seq) == ("n1", LOG, bench.machine.seq)


@pytest.mark.clause("5 audit registries")
@pytest.mark.clause("6 distributed audit reconciliation")
def test_exactly_the_records_that_were_tampered_with_are_found(bench):
    busy(bench)
    lines = bench.decisions()
    lines[5 + 1] = edited(lines[5 + 1], verdict="allow", reason="", message="", policies=[])
    bench.tamper(20, state_root="ab" * 32)
    del lines[29 + 1]
    lines[20 + 1] = bench.decisions()[20 + 1]
    report = replay(bench, lines)
    assert wrong(report) == [(5, "verdict"), (20, "state"), (29, "missing")]
    assert not report.is_clean


def test_what_it_was_and_what_it_should_be_is_said(bench):
    bench.ask("a", "stop", verdict="allow", reason="", message="")
    (found,) = replay(bench).mismatches
    assert found == Mismatch(0, "n1-life-0", "verdict", "allow", "deny policy_denied (no policy permits it)")


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "deny", "reason": "policy_denied", "message": "no policy permits it", "policies": []},
        {"verdict": "deny", "reason": "quarantined", "message": "because"},
        {"verdict": "deny", "reason": "boundary_exceeded", "message": "because"},
        {"verdict": "deny", "reason": "request_invalid", "message": "because"},
        {"policies": ["00" * 32]},
        {"policies": []},
        {"verdict": "deny", "reason": "unheard_of"},
        {"verdict": "deny"},
        {"reason": "policy_denied"},
        {"message": "allowed because"},
    ],
)
def test_an_allow_that_was_changed_is_found(bench, changes):
    bench.ask()
    bench.tamper(0, **changes)
    assert len(wrong(replay(bench))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "allow", "reason": ""},
        {"reason": "quarantined"},
        {"reason": "lease_expired"},
        {"message": "another"},
        {"policies": ["00" * 32]},
        {"errors": ["one"]},
        {"verdict": "allow", "reason": "", "message": ""},
    ],
)
def test_a_denial_that_was_changed_is_found(bench, changes):
    bench.ask("a", "stop")
    bench.tamper(0, **changes)
    assert len(wrong(replay(bench))) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seq": 1}, "state"),
        ({"seq": 99}, "state"),
        ({"state_root": ""}, "state"),
        ({"seq": 0, "state_root": ""}, "record"),
        ({"node": "n2"}, "node"),
        ({"request": None}, "request"),
        ({"request_digest": ""}, "request"),
        ({"request_digest": "ab" * 32}, "request"),
        (
            {"request": {"principal": 'Agent::"z"', "action": "x", "resource": "y", "context": {}}},
            "request",
        ),
        ({"request": {"principal": 1}}, "request"),
        ({"latency_us": -1}, "malformed"),
    ],
)
def test_every_field_of_an_allow_counts(bench, changes, problem):
    bench.ask()
    bench.tamper(0, **changes)
    assert wrong(replay(bench)) == [(0, problem)]


def test_an_allow_without_a_state_is_found(bench):
    bench.deny_standing()
    bench.tamper(0, verdict="allow", reason="")
    assert wrong(replay(bench)) == [(0, "record")]


@pytest.mark.parametrize("reason", [Reason.POLICY_DENIED, Reason.INVALIDATED, Reason.GRANT_MISSING])
def test_what_takes_a_state_cannot_be_the_reason_without_one(bench, reason):
    bench.deny_standing(reason)
    assert wrong(replay(bench)) == [(0, "verdict")]


@pytest.mark.parametrize("reason", ["isolated", "attestation_disagreement", "authorization_inconsistent"])
def test_a_log_full_of_false_denials_is_found(bench, reason):
    """The codes can also be a finding of the node; with a state they speak of the request, and it is evaluated."""
    for number in range(20):
        bench.ask(f"a{number}", verdict="deny", reason=reason, message="because", policies=[])
    assert wrong(replay(bench)) == [(number, "verdict") for number in range(20)]


def test_an_isolated_target_is_evaluated_again(bench):
    bench.command(Isolate(**bench.header(), kind=TargetKind.SUBJECT, id='Agent::"a"', reason="x"), "olga")
    bench.ask()
    assert replay(bench).counts == {"deny": 1}
    bench.tamper(0, reason="quarantined")
    assert wrong(replay(bench)) == [(0, "verdict")]


@pytest.mark.parametrize(
    "reason", ["isolated", "revoked", "attestation_disagreement", "authorization_inconsistent", "node_isolated"]
)
def test_without_a_state_a_code_of_two_meanings_is_about_the_node(bench, reason):
    """`isolated`: of a log from before `node_isolated`. `revoked`: the node is no member any more."""
    bench.deny_standing(Reason(reason))
    report = replay(bench)
    assert (report.is_clean, report.counts) == (True, {"standing": 1})


def test_members_that_disagree_on_a_permit_are_counted(bench):
    """No evaluation gives it: the message names the member, whose signed denial the node has kept."""
    denial = {"verdict": "deny", "reason": "authorization_inconsistent", "policies": [], "decision": ""}
    bench.ask(**denial, message=contradicted_by("n2"))
    report = replay(bench)
    assert (report.is_clean, report.counts) == (True, {"contradiction": 1})
    for changes in (
        {"message": contradicted_by("n1")},
        {"message": contradicted_by("n9")},
        {"message": "because"},
        {"decision": "n1-life-7"},
        {"reason": "attestation_disagreement"},
    ):
        bench.ask(**{**denial, "message": contradicted_by("n2"), **changes})
    assert wrong(replay(bench)) == [(number, "verdict") for number in range(1, 6)]


def test_a_denial_of_the_node_itself_is_counted(bench):
    bench.deny_standing(Reason.PARTITION_AMBIGUOUS)
    bench.deny_standing(Reason.INTERNAL_ERROR)
    bench.ask(verdict="deny", reason="lease_expired", message="over", policies=[])
    bench.ask(verdict="deny", reason="internal_error", message="not recorded", policies=[])
    report = replay(bench)
    assert report.is_clean
    assert report.counts == {"standing": 2, "failure": 2}


def test_a_denial_of_the_node_itself_needs_a_state_that_allows(bench):
    bench.ask("a", "stop", reason="lease_expired")
    assert wrong(replay(bench)) == [(0, "verdict")]


def test_validity_is_judged_at_the_time_of_the_record(bench):
    bench.ask()
    bench.time += 10**9
    bench.ask("b")
    assert replay(bench).is_clean


def test_what_ended_in_between_is_judged_as_it_was_when_it_was_asked(bench):
    """No entry came between the two: only the records' own times tell them apart."""
    publish = PolicyPublish(
        **bench.header(),
        version=2,
        expected=bench.machine.policy_versions[-1].digest,
        schema=SCHEMA,
        policies=('@requires_grant("true") permit(principal, action, resource);',),
        removed=tuple(item.hex() for item in bench.machine.policy_versions[-1].policy_ids),
    )
    bench.command(publish, "pat")
    digest = bench.machine.policy_versions[-1].digest
    bench.command(PolicyActivate(**bench.header(), version=2, digest=digest), "pat")
    lent = {"holder": 'Agent::"a"', "actions": ('Action::"run"',), "resources": ('Tool::"t"',), "depth": 0}
    times = {"not_before": bench.time, "not_after_grant": bench.time + 5_000}
    bench.command(GrantIssue(**bench.header(), id="g", delegate=None, **lent, **times), "olga")
    bench.ask()
    bench.time += 6_000
    bench.ask()
    report = replay(bench)
    assert report.is_clean, report.mismatches
    assert report.counts == {"allow": 1, "deny": 1}


def test_masked_requests_are_counted_and_their_state_is_checked():
    bench = AuditBench(masks=("context.email",))
    bench.ask(context={"email": "a@b.c"})
    bench.ask(context={"n": 1})
    bench.ask(context={"email": "a@b.c"})
    bench.tamper(2, state_root="ab" * 32)
    report = replay(bench)
    assert report.counts == {"allow": 1, "masked": 1}
    assert wrong(report) == [(2, "state")]


def test_a_request_that_could_not_be_kept_is_counted(bench):
    bench.ask("a", "run", context={"n": 1.5}, verdict="deny", reason="request_invalid", message="m", policies=[])
    assert replay(bench).counts == {"unreadable": 1}


def test_records_out_of_the_order_of_their_seqs_are_judged_each_at_its_own(bench):
    busy(bench)
    bench.records.reverse()
    for index in range(len(bench.records)):
        bench.tamper(index, index=index)
    bench.anchors.clear()
    report = replay(bench)
    assert report.mismatch_count == 0
    assert report.chain  # What was anchored is another matter.


# The chain.


def test_a_record_that_was_changed_with_the_whole_chain_is_found(bench):
    busy(bench)
    bench.tamper(15, latency_us=8)
    report = replay(bench)
    assert report.mismatch_count == 0
    assert report.chain[0].startswith("records 12 to 23 are not those anchored at seq")


def test_what_came_after_the_last_anchor_is_not_vouched_for(bench):
    busy(bench)
    bench.tamper(26, latency_us=8)
    report = replay(bench)
    assert report.is_clean
    assert report.anchored == 24


def test_a_log_that_was_cut_is_found(bench):
    busy(bench)
    del bench.records[20:], bench.anchors[1:]
    report = replay(bench)
    assert report.chain == [f"seq {bench.machine.anchors['n1'].seq} anchors 24 records, the log has only 20"]


def test_a_head_that_does_not_extend_the_records_is_found(bench):
    busy(bench)
    lines = bench.decisions()
    lines[-1] = edited(lines[-1], root="ab" * 32)
    assert "does not extend" in replay(bench, lines).chain[0]


def test_an_anchor_that_is_not_in_the_lineage_is_found(bench):
    busy(bench)
    bench.anchors[0] = bench.anchors[0]._replace(seq=3)
    assert "not in the lineage at seq 3" in replay(bench).chain[0]


def test_a_stretch_is_vouched_for_by_the_anchor_after_it(bench):
    busy(bench)
    report = replay(bench, bench.decisions(14, 20))
    assert report.is_clean
    assert (report.first, report.last, report.anchored, report.anchor_seq) == (14, 20, 20, bench.anchors[1].seq)
    assert sum(report.counts.values()) == 6


def test_a_stretch_that_was_changed_is_found(bench):
    busy(bench)
    honest = bench.decisions(14, 20)
    lines = list(honest)
    lines[3] = edited(lines[3], latency_us=8)
    assert "does not extend" in replay(bench, lines).chain[0]
    for field, value in (("first", 13), ("last", 21), ("before", ["ab" * 32] * 3)):
        lines = [edited(honest[0], **{field: value}), *honest[1:]]
        assert not replay(bench, lines).is_clean


def test_another_log_of_the_node_is_another_matter(bench):
    busy(bench)
    bench.anchor(log="0b" * 16)
    assert replay(bench).is_clean


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda lines: [*lines[:3], *lines[4:]], [(2, "missing")]),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], [(1, "record")]),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], [(2, "missing"), (2, "record")]),
        (lambda lines: [*lines[:3], b"junk\n", *lines[4:]], [(2, "malformed")]),
        (lambda lines: [*lines[:-2], lines[-1]], [(29, "missing")]),
        (lambda lines: [*lines[:-1], edited(lines[-2], index=30), lines[-1]], [(30, "record")]),
    ],
)
def test_what_is_missing_or_too_much_is_found(bench, spoil, found):
    busy(bench)
    report = replay(bench, spoil(bench.decisions()))
    assert wrong(report) == found
    assert report.chain == ["records are missing or unreadable: no anchor can be held against the rest"]
    assert (report.anchor_seq, report.anchored) == (0, 0)


def test_a_file_that_claims_too_much_is_no_burden(bench):
    bench.ask()
    lines = bench.decisions()
    lines[0] = edited(lines[0], last=2**53)
    report = replay(bench, lines)
    assert report.mismatch_count == 2**53 - 1
    assert len(report.mismatches) == 10_000


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [],
        lambda lines: lines[:1],
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [edited(lines[0], cluster="ab" * 32), *lines[1:]],
        lambda lines: [edited(lines[0], first=5, last=4), *lines[1:]],
        lambda lines: [edited(lines[0], format="govraft.decisions.v2"), *lines[1:]],
        lambda lines: [edited(lines[0], more=1), *lines[1:]],
        lambda lines: [*lines, lines[-1]][:-1] + [b"{}\n"],
        lambda lines: [b"\xff", *lines[1:]],
    ],
)
def test_what_is_no_export_is_refused(bench, spoil):
    bench.ask()
    with pytest.raises(VerificationError):
        replay(bench, spoil(bench.decisions()))


def test_nothing_is_said_of_a_lineage_that_is_not_proven(bench):
    bench.ask()
    lineage = bench.lineage()
    with pytest.raises(VerificationError):
        replay(bench, lineage=lineage[:-1])


def test_an_empty_log_is_clean(bench):
    report = replay(bench)
    assert report.is_clean
    assert (report.last, report.counts) == (0, {})
