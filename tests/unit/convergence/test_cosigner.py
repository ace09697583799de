from dataclasses import dataclass, field

import msgspec
import pytest

from govraft.core.convergence.certificate import open_ack, verify_cosignature
from govraft.core.convergence.cosigner import Acked, Answer, Cosigner, Held, Refusal
from govraft.core.convergence.messages import Probe
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.errors import InvariantViolation

GRANT = 1010 * NS_PER_MS
START = BoottimeNs(10**12)


@dataclass
class View:
    world: object
    boottime: BoottimeNs = START
    wall: WallMs = WallMs(1_700_000_000_000)
    leader_hint: str | None = "a"
    term: int = 1
    applied: int = 10
    newest_time: WallMs = WallMs(1_700_000_000_000)
    isolated: bool = False
    remembered: range = range(1, 100)
    roots: dict = field(default_factory=dict)

    uncertified: int | None = None
    apart: int = 0

    def electorates(self, seq):
        return (self.world.electorate,)

    def held(self, seq):
        return Held(self.root(seq), self.world.sections) if seq in self.remembered else None

    def apart_ms(self, probe):
        return self.apart

    def root(self, seq):
        assert seq <= self.applied, "nobody knows the root of what is not applied"
        return self.roots.get(seq, self.world.root(seq))


class Node:
    def __init__(self, world, **changes):
        self.world, self.view = world, View(world)
        given = {"acked": None, "started": START, "has_run_before": False} | changes
        self.cosigner = Cosigner(
            node_id="b",
            public_key=world.key("b"),
            origin=world.origin,
            cluster=world.cluster,
            timing=world.timing,
            signing=world.signing("b"),
            **given,
        )

    def answer(self, seq=1, **changes) -> Answer | Refusal:
        signed = self.world.probe(seq, **changes)
        return self.cosigner.answer(signed, Probe.decode(signed.body), self.world.nonce(7), self.view)

    def ack(self, seq=1, **changes):
        answer = self.answer(seq, **changes)
        assert isinstance(answer, Answer), answer
        return open_ack(answer.ack, self.world.electorate, self.world.cluster, self.world.is_valid)[1]

    def wait(self, ns: int) -> None:
        self.view.boottime = BoottimeNs(self.view.boottime + ns)


@pytest.fixture
def node(world):
    return Node(world)


def test_an_ack_says_what_the_probe_asked(world, node):
    ack = node.ack(3, round=8)
    assert (ack.seq, ack.root, ack.round, ack.node, ack.nonce) == (3, world.root(3), 8, "b", world.nonce(7))
    assert ack.outstanding == ()
    verify_cosignature(ack, world.electorate.find("b"), world.origin, is_valid=world.is_valid)


@pytest.mark.parametrize(
    ("change", "probe", "refusal"),
    [
        ({"isolated": True}, {}, Refusal.ISOLATED),
        ({"leader_hint": "c"}, {}, Refusal.NOT_LEADER),
        ({"leader_hint": None}, {}, Refusal.NOT_LEADER),
        ({"term": 2}, {}, Refusal.NOT_LEADER),
        ({}, {"leader": "a", "signer": "c"}, Refusal.NOT_LEADER),
        ({}, {"epoch": 2}, Refusal.WRONG_EPOCH),
        ({"applied": 2}, {}, Refusal.BEHIND),
        ({"remembered": range(4, 10)}, {}, Refusal.FORGOTTEN),
        ({"roots": {3: bytes(32)}}, {}, Refusal.DIVERGENT),
        ({}, {"sections": {}}, Refusal.DIVERGENT),
        ({}, {"sections": {"policies": bytes(32), "entities": bytes(32)}}, Refusal.DIVERGENT),
        ({"newest_time": WallMs(1_700_000_000_501)}, {}, Refusal.CLOCK_AHEAD),
        ({"apart": 501}, {}, Refusal.CLOCK_APART),
        ({"apart": -501}, {}, Refusal.CLOCK_APART),
        ({}, {"wall": None}, Refusal.FOREIGN),
        ({}, {"more": {"imports": {}}}, Refusal.FOREIGN),
        ({}, {"grants": {"c": bytes(32)}}, Refusal.FOREIGN),
    ],
    ids=str,
)
def test_each_condition_has_its_refusal(world, node, change, probe, refusal):
    for name, value in change.items():
        setattr(node.view, name, value)
    assert node.answer(3, **probe) is refusal
    assert node.cosigner.acked is None
    # What was refused granted nothing and is remembered nowhere.
    node.view = View(world)
    assert node.ack(4).outstanding == ()


def test_a_checkpoint_of_another_origin_is_never_cosigned(world, node):
    foreign = msgspec.structs.replace(world.checkpoint(3), origin="govraft.dev/" + "1" * 64)
    assert node.answer(3, checkpoint=foreign) is Refusal.DIVERGENT


def test_a_clock_just_within_the_skew_is_fine(node):
    node.view.newest_time = WallMs(1_700_000_000_500)
    node.ack(3)


def test_only_a_higher_seq_must_be_written(world, node):
    assert node.answer(3).record == Acked(3, world.root(3))
    assert node.answer(3, round=2).record is None
    assert node.answer(4).record == Acked(4, world.root(4))


def test_a_lower_seq_is_never_acked(world, node):
    node.ack(5)
    assert node.answer(4) is Refusal.REGRESSED
    node.view.boottime = BoottimeNs(START + 100 * GRANT)
    assert node.answer(4) is Refusal.REGRESSED
    node.ack(5)
    again = Node(world, acked=node.cosigner.acked)
    assert again.answer(4) is Refusal.REGRESSED
    assert again.answer(5).record is None


def test_a_changed_lineage_is_noticed_at_the_last_signed_seq(world, node):
    node.ack(5)
    node.view.roots[5] = bytes(32)
    assert node.answer(6) is Refusal.LINEAGE_CHANGED
    assert (
        node.answer(5, checkpoint=msgspec.structs.replace(world.checkpoint(5), root=bytes(32)))
        is Refusal.LINEAGE_CHANGED
    )
    assert node.cosigner.acked == Acked(5, world.root(5))


def test_a_restarted_node_waits_until_its_old_grants_are_over(world):
    node = Node(world, has_run_before=True)
    assert node.answer() is Refusal.RESTARTING
    node.wait(GRANT - 1)
    assert node.answer() is Refusal.RESTARTING
    assert not node.cosigner.is_ready(node.view.boottime)
    node.wait(1)
    node.ack()


def test_grants_are_outstanding_from_the_ack_on(world, node):
    node.ack(3, grants={"a": world.nonce(1), "c": world.nonce(2)})
    assert node.ack(3, round=2).outstanding == ()
    assert node.ack(4, round=3).outstanding == ("a", "c")
    assert node.ack(5, round=4).outstanding == ("a", "c")


def test_a_grant_is_outstanding_until_the_lease_is_certainly_over(world, node):
    node.ack(3, grants={"a": world.nonce(1)})
    node.wait(GRANT - 1)
    assert node.ack(4).outstanding == ("a",)
    node.wait(1)
    assert node.ack(4).outstanding == ()


def test_a_renewed_grant_does_not_hide_an_older_one(world, node):
    node.ack(3, grants={"a": world.nonce(1)})
    node.wait(GRANT // 2)
    node.ack(4, grants={"a": world.nonce(2)})
    assert node.ack(4, round=2).outstanding == ("a",)
    assert node.ack(5, round=3).outstanding == ("a",)
    node.wait(GRANT // 2 + 1)
    assert node.ack(4 + 1, round=4).outstanding == ("a",), "the grant at seq 4 still runs"
    node.wait(GRANT // 2)
    assert node.ack(5, round=5).outstanding == ()


def test_the_same_seq_granted_again_runs_longer(world, node):
    node.ack(3, grants={"a": world.nonce(1)})
    node.wait(GRANT // 2)
    node.ack(3, round=2, grants={"a": world.nonce(1)})
    node.wait(GRANT // 2 + 1)
    assert node.ack(4).outstanding == ("a",)


def test_strangers_get_no_grants(world, node):
    node.ack(3, grants={f"ghost{n}": world.nonce(n) for n in range(50)})
    assert node.ack(4).outstanding == ()
    assert not node.cosigner._grants


def test_grants_of_the_past_are_forgotten(world, node):
    node.view.applied = node.view.remembered = 10**9
    node.view.remembered = range(10**9)
    for seq in range(3, 200):
        node.ack(seq, grants={"a": world.nonce(seq)})
        node.wait(GRANT // 10)
    assert len(node.cosigner._grants["a"]) <= 11


def test_a_cosignature_is_made_afresh_once_a_second(world, node):
    first = node.ack(3)
    node.view.wall = WallMs(first.time_s * 1000 + 999)
    assert node.ack(3, round=2).time_s == first.time_s
    node.view.wall = WallMs(node.view.wall + 1)
    later = node.ack(3, round=3)
    assert later.time_s == first.time_s + 1
    node.view.wall = WallMs(node.view.wall - 100_000)
    node.view.newest_time = node.view.wall
    assert node.ack(3, round=4).time_s == later.time_s - 100
    other = node.ack(4, round=5)
    verify_cosignature(other, world.electorate.find("b"), world.origin, is_valid=world.is_valid)


def test_the_newest_applied_seq_can_be_acked(node):
    assert node.ack(10).seq == 10
    assert node.answer(11) is Refusal.BEHIND


def test_a_wall_clock_before_1970_halts(world, node):
    node.view.wall = node.view.newest_time = WallMs(-1)
    with pytest.raises(InvariantViolation):
        node.answer()
