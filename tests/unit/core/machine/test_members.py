import base64
from typing import Any

import pytest

from govraft.core.codec.envelope import pae, seal
from govraft.core.convergence.messages import Ack, Kind, sign
from govraft.core.crypto.keys import key_id
from govraft.core.model import limits
from govraft.core.model.commands import (
    MemberAdd,
    MemberEvict,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
    encode_command,
    payload_type,
)
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.outcome import Rejection
from govraft.testing.sample import seeded_key

ROOTS = ("rita", "ruth")


def text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def public(seed: str) -> bytes:
    return seeded_key(seed).public_key().public_bytes_raw()


def fields(identifier: str, seed: str | None = None, **changes: Any) -> MemberFields:
    """What stands for a certificate holds the key, and need not be one here."""
    key = public(seed or identifier)
    given = {"public_key": text(key), "certificate": text(b"certificate of " + key), "address": "127.0.0.1:7100"}
    return MemberFields(**({"id": identifier} | given | changes))


def sealed(bench: Any, command: Any, *seeds: str, authors: tuple[str, ...] = ROOTS, nodes: tuple[str, ...] = ()) -> str:
    """Apply a command that authorities, new keys (by seed) and member nodes have signed."""
    kind, payload = payload_type(command), encode_command(command)
    message = pae(kind, payload)
    keys = [bench.cluster.authority_keys[name] for name in authors] + [seeded_key(seed) for seed in seeds]
    keys += [bench.cluster.node_keys[name] for name in nodes]
    envelope = seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])
    return bench.apply_envelope(envelope).outcome.code


def add(bench: Any, identifier: str, seed: str | None = None, **changes: Any) -> str:
    command = bench.command(MemberAdd, member=fields(identifier, seed, **changes))
    return sealed(bench, command, seed or identifier)


def promote(bench: Any, identifier: str) -> str:
    return sealed(bench, bench.command(MemberPromote, id=identifier))


def remove(bench: Any, identifier: str, reason: str = "test") -> str:
    return sealed(bench, bench.command(MemberRemove, id=identifier, reason=reason))


def rotate(bench: Any, identifier: str, seed: str, **changes: Any) -> str:
    return sealed(bench, bench.command(MemberRotate, member=fields(identifier, seed, **changes)), seed)


def ids(bench: Any, *, voters: bool) -> list[str]:
    return [member.id for member in bench.machine.electorate.members if member.voter is voters]


@pytest.fixture
def bench(make_bench: Any) -> Any:
    return make_bench(voters=3, observers=1)


# What each command does.


def test_a_node_comes_as_an_observer_and_is_promoted(bench: Any) -> None:
    assert add(bench, "n5") == "applied"
    assert (bench.machine.epoch, ids(bench, voters=False)) == (2, ["n4", "n5"])
    assert promote(bench, "n5") == "applied"
    assert (bench.machine.epoch, ids(bench, voters=True)) == (3, ["n1", "n2", "n3", "n5"])
    member = bench.machine.electorate.find("n5")
    assert (member.public_key, member.address) == (public("n5"), "127.0.0.1:7100")


def test_the_leaf_is_of_the_new_epoch(bench: Any) -> None:
    add(bench, "n5")
    assert bench.machine.leaf(2).epoch == 2
    assert bench.machine.leaf(1).epoch == 1


def test_a_rotated_member_keeps_its_place(bench: Any) -> None:
    for identifier, voter in (("n1", True), ("n4", False)):
        assert rotate(bench, identifier, f"new {identifier}") == "applied"
        member = bench.machine.electorate.find(identifier)
        assert (member.public_key, member.voter) == (public(f"new {identifier}"), voter)
    assert bench.machine.epoch == 3


def test_a_removed_node_is_gone_and_its_id_may_come_back_with_another_key(bench: Any) -> None:
    assert remove(bench, "n1") == "applied"
    assert ids(bench, voters=True) == ["n2", "n3"]
    assert add(bench, "n1", "node n1") == Rejection.KEY_IN_USE.value
    assert add(bench, "n1", "another n1") == "applied"
    assert ids(bench, voters=False) == ["n1", "n4"]


def test_replaced_keys_never_come_back(bench: Any) -> None:
    assert rotate(bench, "n1", "second") == "applied"
    assert rotate(bench, "n1", "node n1") == Rejection.KEY_IN_USE.value
    assert add(bench, "n5", "node n1") == Rejection.KEY_IN_USE.value
    assert remove(bench, "n1") == "applied"
    assert add(bench, "n5", "second") == Rejection.KEY_IN_USE.value
    retired = [key for key in bench.machine.records("electorate") if key.startswith("retired/")]
    assert sorted(retired) == sorted(f"retired/{key_id(public(seed))}" for seed in ("node n1", "second"))


# What is refused.


@pytest.mark.parametrize(
    ("attempt", "rejection"),
    [
        (lambda b: add(b, "n1", "x"), Rejection.MEMBER_EXISTS),
        (lambda b: add(b, "n4", "x"), Rejection.MEMBER_EXISTS),
        (lambda b: promote(b, "n9"), Rejection.MEMBER_UNKNOWN),
        (lambda b: promote(b, "n1"), Rejection.MEMBER_STATE),
        (lambda b: remove(b, "n9"), Rejection.MEMBER_UNKNOWN),
        (lambda b: remove(b, "n1", "x" * (limits.REASON_CHARS + 1)), Rejection.LIMIT_EXCEEDED),
        (lambda b: rotate(b, "n9", "x"), Rejection.MEMBER_UNKNOWN),
        (lambda b: add(b, "n5", "node n1"), Rejection.KEY_IN_USE),
        (lambda b: add(b, "n5", "authority olga"), Rejection.KEY_IN_USE),
        (lambda b: rotate(b, "n1", "node n1"), Rejection.KEY_IN_USE),
        (lambda b: add(b, "n5", public_key=text(bytes(32))), Rejection.KEY_INVALID),
        (lambda b: add(b, "n5", public_key=text(bytes(31))), Rejection.KEY_INVALID),
        (lambda b: add(b, "n5", certificate=text(b"of another key")), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", certificate=""), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", certificate="AAA"), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", certificate=text(public("n5") + bytes(limits.CERTIFICATE_BYTES - 31))), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", address=""), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", address="host"), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", address="host:65536"), Rejection.MEMBER_INVALID),
        (lambda b: add(b, "n5", address="a b:7000"), Rejection.MEMBER_INVALID),
        (lambda b: sealed(b, b.command(MemberAdd, member=fields("n5"))), Rejection.POSSESSION_UNPROVEN),
        (lambda b: sealed(b, b.command(MemberAdd, member=fields("n5")), "n6"), Rejection.POSSESSION_UNPROVEN),
        (lambda b: sealed(b, b.command(MemberRotate, member=fields("n1", "x"))), Rejection.POSSESSION_UNPROVEN),
        (lambda b: sealed(b, b.command(MemberPromote, id="n4"), authors=("rita",)), Rejection.THRESHOLD_UNMET),
        (lambda b: sealed(b, b.command(MemberPromote, id="n4"), authors=("olga", "oscar")), Rejection.THRESHOLD_UNMET),
        (lambda b: sealed(b, b.command(MemberPromote, id="n4"), authors=(), nodes=("n1", "n2")), Rejection.THRESHOLD_UNMET),
    ],
)  # fmt: skip
def test_table(bench: Any, attempt: Any, rejection: Rejection) -> None:
    before = dict(bench.machine.records("electorate"))
    assert attempt(bench) == rejection.value
    assert dict(bench.machine.records("electorate")) == before
    assert bench.machine.epoch == 1


def test_one_certificate_is_of_one_member(bench: Any) -> None:
    both = text(public("n5") + public("n6"))
    assert add(bench, "n5", certificate=both) == "applied"
    assert add(bench, "n6", certificate=both) == Rejection.MEMBER_INVALID.value


@pytest.mark.parametrize(
    ("address", "code"),
    [("[::1]:0", "applied"), ("n5.example:65535", "applied"), ("[::1]", "member_invalid"), (":1", "member_invalid")],
)
def test_addresses(bench: Any, address: str, code: str) -> None:
    assert add(bench, "n5", address=address) == code


def test_the_longest_certificate_is_taken(bench: Any) -> None:
    longest = public("n5") + bytes(limits.CERTIFICATE_BYTES - 32)
    assert add(bench, "n5", certificate=text(longest)) == "applied"


# Bounds.


def test_nine_voters_are_enough(make_bench: Any) -> None:
    bench = make_bench(voters=8, observers=2)
    assert promote(bench, "n9") == "applied"
    assert len(ids(bench, voters=True)) == limits.VOTERS
    assert promote(bench, "n10") == Rejection.LIMIT_EXCEEDED.value


def test_observers_are_bounded(make_bench: Any) -> None:
    bench = make_bench(voters=1, observers=limits.OBSERVERS - 1)
    assert add(bench, "o1") == "applied"
    assert add(bench, "o2") == Rejection.LIMIT_EXCEEDED.value
    assert promote(bench, "o1") == "applied"
    assert add(bench, "o2") == "applied"


def test_the_last_voter_stays(make_bench: Any) -> None:
    bench = make_bench(voters=2, observers=1)
    assert remove(bench, "n1") == "applied"
    assert remove(bench, "n2") == Rejection.LAST_VOTER.value
    assert remove(bench, "n3") == "applied", "an observer may always go"
    assert ids(bench, voters=True) == ["n2"]


@pytest.mark.parametrize(
    ("voters", "rule", "code"),
    [
        (1, QuorumRule.MAJORITY, "quorum_at_risk"),
        (2, QuorumRule.MAJORITY, "quorum_at_risk"),
        (3, QuorumRule.MAJORITY, "applied"),
        (4, QuorumRule.MAJORITY, "applied"),
        (3, QuorumRule.BYZANTINE, "quorum_at_risk"),
        (4, QuorumRule.BYZANTINE, "applied"),
    ],
)
def test_a_rotation_needs_a_quorum_of_the_others(make_bench: Any, voters: int, rule: QuorumRule, code: str) -> None:
    assert rotate(make_bench(voters=voters, quorum=rule), "n1", "x") == code


def test_an_observer_may_rotate_in_the_smallest_cluster(make_bench: Any) -> None:
    assert rotate(make_bench(voters=1, observers=1), "n2", "x") == "applied"


# Eviction.


def ack(
    bench: Any, seq: int, root: bytes, node: str = "n1", *, signer: str | None = None, key: str | None = None
) -> str:
    cluster = bytes.fromhex(bench.cluster.genesis.cluster_id)
    body = Ack(bytes(32), 1, seq, root, node, bytes(16), (), 1, bytes(64)).encode()
    signing = bench.cluster.node_keys[key or node].sign
    return text(sign(Kind.ACK, body, signer=signer or node, cluster=cluster, signing=signing).encode())


def evict(bench: Any, first: str, second: str, node: str = "n1", **signers: Any) -> str:
    given = {"authors": (), "nodes": ("n2",)} | signers
    return sealed(bench, bench.command(MemberEvict, id=node, first=first, second=second), **given)


@pytest.mark.parametrize(
    "signers", [{"nodes": ("n2",)}, {"nodes": ("n4",)}, {"nodes": ("n1",)}, {"authors": ("olga",), "nodes": ()}]
)
def test_evidence_evicts_whoever_hands_it_in(bench: Any, signers: dict[str, Any]) -> None:
    assert evict(bench, ack(bench, 7, bytes(32)), ack(bench, 7, b"\1" * 32), **signers) == "applied"
    assert ids(bench, voters=True) == ["n2", "n3"]
    assert bench.machine.epoch == 2
    assert add(bench, "n1", "node n1") == Rejection.KEY_IN_USE.value


def test_nobody_at_all_evicts_nobody(bench: Any) -> None:
    command = bench.command(MemberEvict, id="n1", first=ack(bench, 7, bytes(32)), second=ack(bench, 7, b"\1" * 32))
    assert sealed(bench, command, "mallory", authors=()) == Rejection.THRESHOLD_UNMET.value


@pytest.mark.parametrize(
    "second",
    [
        lambda b: ack(b, 7, bytes(32)),
        lambda b: ack(b, 8, b"\1" * 32),
        lambda b: ack(b, 7, b"\1" * 32, "n2"),
        lambda b: ack(b, 7, b"\1" * 32, "n2", signer="n1", key="n1"),
        lambda b: ack(b, 7, b"\1" * 32, "n1", key="n2"),
        lambda b: ack(b, 7, b"\1" * 32, "n1", signer="n2"),
        lambda b: "",
        lambda b: "AAA",
        lambda b: text(b"junk"),
        lambda b: ack(b, 7, b"\1" * 32)[:-4] + "AAAA",
    ],
)
def test_evidence_must_convict(bench: Any, second: Any) -> None:
    good = ack(bench, 7, bytes(32))
    for first, other in ((good, second(bench)), (second(bench), good)):
        assert evict(bench, first, other) == Rejection.EVIDENCE_INVALID.value
    assert bench.machine.epoch == 1


def test_what_a_former_key_signed_convicts_nobody_now(bench: Any) -> None:
    first, second = ack(bench, 7, bytes(32)), ack(bench, 7, b"\1" * 32)
    assert rotate(bench, "n1", "x") == "applied"
    assert evict(bench, first, second) == Rejection.EVIDENCE_INVALID.value


def test_strangers_and_the_last_voter_are_not_evicted(make_bench: Any) -> None:
    bench = make_bench(voters=1, observers=1)
    first, second = ack(bench, 7, bytes(32)), ack(bench, 7, b"\1" * 32)
    assert evict(bench, first, second, "n9") == Rejection.MEMBER_UNKNOWN.value
    assert evict(bench, first, second) == Rejection.LAST_VOTER.value
