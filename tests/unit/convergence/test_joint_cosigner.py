from dataclasses import dataclass, field

import pytest
from unit.convergence.joint import Joint, identifier

from govraft.core.convergence.cosigner import Answer, Cosigner, Held, Refusal
from govraft.core.convergence.messages import Ack, Probe
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs

GRANT = 1010 * NS_PER_MS
START = BoottimeNs(10**12)
CHANGE = 5
"""The seq at which the electorate changes, waiting for its certificate unless told otherwise."""


@dataclass
class View:
    world: Joint
    boottime: BoottimeNs = START
    wall: WallMs = WallMs(1_700_000_000_000)
    leader_hint: str | None = "a"
    term: int = 1
    applied: int = 10
    uncertified: int | None = CHANGE
    newest_time: WallMs = WallMs(1_700_000_000_000)
    isolated: bool = False
    roots: dict = field(default_factory=dict)

    def electorates(self, seq):
        if self.uncertified is None:
            return (self.world.new,) if seq >= CHANGE else ()
        if seq > self.uncertified:
            return ()
        return self.world.both if seq == self.uncertified else (self.world.old,)

    def held(self, seq):
        return Held(self.root(seq), self.world.sections)

    def apart_ms(self, probe):
        return 0

    def root(self, seq):
        return self.roots.get(seq, self.world.root(seq))


class Node:
    def __init__(self, world: Joint, name: str = "b") -> None:
        self.world, self.view = world, View(world)
        self.cosigner = Cosigner(
            node_id=identifier(name),
            public_key=world.key(name),
            origin=world.origin,
            cluster=world.cluster,
            timing=world.timing,
            signing=world.signing(name),
            acked=None,
            started=START,
            has_run_before=False,
        )
        self.nonces = 0

    def answer(self, seq: int = CHANGE, **changes) -> Answer | Refusal:
        self.nonces += 1
        signed = self.world.probe(seq, **({"epoch": 1 if seq < CHANGE else 2} | changes))
        return self.cosigner.answer(signed, Probe.decode(signed.body), self.world.nonce(self.nonces), self.view)

    def ack(self, seq: int = CHANGE, **changes) -> Ack:
        answer = self.answer(seq, **changes)
        assert isinstance(answer, Answer), answer
        return Ack.decode(answer.ack.body)

    def certify(self) -> None:
        self.cosigner.forget_below(CHANGE)
        self.view.uncertified = None


@pytest.fixture
def node():
    return Node(Joint("a b c", "a b d"))


def test_the_change_itself_is_acked(node):
    assert node.ack().seq == CHANGE


def test_nothing_is_acked_beyond_a_change(node):
    assert node.answer(CHANGE + 1) is Refusal.EPOCH_UNCERTIFIED
    assert node.cosigner.acked is None
    node.certify()
    assert node.ack(CHANGE + 1).seq == CHANGE + 1


@pytest.mark.parametrize(
    ("seq", "epoch", "certified"),
    [(4, 2, False), (5, 1, False), (5, 3, False), (6, 1, True), (6, 3, True), (4, 1, True), (4, 2, True)],
)
def test_a_probe_is_of_the_epoch_of_its_seq(node, seq, epoch, certified):
    if certified:
        node.certify()
    assert node.answer(seq, epoch=epoch) is Refusal.WRONG_EPOCH


@pytest.mark.parametrize(
    ("leader", "seq", "certified", "refused"),
    [
        ("c", CHANGE, False, False),
        ("d", CHANGE, False, False),
        ("d", CHANGE - 1, False, True),
        ("c", CHANGE - 1, False, False),
        ("c", CHANGE, True, True),
        ("c", CHANGE + 1, True, True),
        ("d", CHANGE + 1, True, False),
        ("x", CHANGE, False, True),
    ],
)
def test_who_may_lead_which_round(node, leader, seq, certified, refused):
    node.view.leader_hint = leader
    if certified:
        node.certify()
    answer = node.answer(seq, leader=leader)
    assert answer is Refusal.WRONG_EPOCH if refused else isinstance(answer, Answer)


def test_a_removed_node_acks_only_its_own_removal():
    node = Node(Joint("a b c", "a b d"), "c")
    assert node.ack(CHANGE).node == "c"
    node.certify()
    for seq in (CHANGE, CHANGE + 1):
        assert node.answer(seq) is Refusal.NOT_MEMBER


def test_a_new_node_acks_from_its_change_on():
    node = Node(Joint("a b c", "a b d"), "d")
    assert node.answer(CHANGE - 1) is Refusal.NOT_MEMBER
    assert node.ack(CHANGE).node == "d"
    node.certify()
    assert node.ack(CHANGE + 1).node == "d"


def test_each_key_of_an_id_acks_in_its_time():
    world = Joint("a b c", "a b' c")
    old, new = Node(world, "b"), Node(world, "b'")
    assert new.answer(CHANGE - 1) is Refusal.NOT_MEMBER
    assert old.ack(CHANGE - 1).node == new.ack(CHANGE).node == old.ack(CHANGE).node == "b"
    for node in (old, new):
        node.certify()
    assert old.answer(CHANGE + 1) is Refusal.NOT_MEMBER
    assert new.ack(CHANGE + 1).node == "b"


def test_grants_are_for_the_members_after_the_change(node):
    grants = {name: node.world.nonce(50) for name in "acd"}
    node.ack(CHANGE - 1, grants=grants)
    assert node.ack(CHANGE, grants=grants).outstanding == ("a", "c")
    node.certify()
    assert node.ack(CHANGE + 1).outstanding == ("a", "d"), "not to `c`, who left with the change"


def test_grants_below_a_certified_change_are_forgotten(node):
    node.ack(CHANGE - 1, grants={"a": node.world.nonce(50), "c": node.world.nonce(51)})
    assert node.ack(CHANGE, grants={"d": node.world.nonce(52)}).outstanding == ("a", "c")
    node.certify()
    assert node.ack(CHANGE).outstanding == ()
    assert node.ack(CHANGE + 1).outstanding == ("d",), "what was granted at the change itself may still run"
    node.view.boottime = BoottimeNs(START + GRANT)
    assert node.ack(CHANGE + 1).outstanding == ()


def test_another_root_is_divergent_before_anything_is_said_of_epochs(node):
    node.view.roots[CHANGE + 1] = bytes(32)
    assert node.answer(CHANGE + 1) is Refusal.DIVERGENT
