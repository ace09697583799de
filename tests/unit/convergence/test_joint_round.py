import pytest
from unit.convergence.joint import Joint

from govraft.core.convergence.messages import Ack, Lease, Probe
from govraft.core.convergence.round import RoundLeader
from govraft.core.model.electorate import Member
from govraft.core.model.units import NS_PER_MS, BoottimeNs


class Leading:
    def __init__(self, world: Joint) -> None:
        self.world, self.now = world, BoottimeNs(10**12)
        self.leader = RoundLeader(
            node_id="a",
            origin=world.origin,
            cluster=world.cluster,
            timing=world.timing,
            recent_ns=300 * NS_PER_MS,
            signing=world.signing("a"),
        )

    def begin(self, seq=5, electorates=None):
        return self.leader.begin(
            seq=seq,
            root=self.world.root(seq),
            sections=self.world.sections,
            electorates=electorates or self.world.both,
            term=1,
            now=self.now,
            wall=self.world.wall,
        )

    def ack(self, name, probe, **changes):
        signed = self.world.ack(name, probe, **changes)
        member = Member(signed.signer, self.world.key(name), b"", True, "")
        return self.leader.take(signed, Ack.decode(signed.body), member, self.now)


@pytest.mark.parametrize(
    ("old", "new", "acks"),
    [
        ("a", "a b", "a b"),
        ("a b", "a", "a b"),
        ("a b c", "a b c d", "a b d"),
        ("a b c", "a b' c", "a b b'"),
        ("a b c", "a b / c", "a b"),
        ("a b c", "x y z", "a b x y"),
    ],
)
def test_the_last_of_both_quorums_completes_the_round(old, new, acks):
    leading = Leading(Joint(old, new))
    probe = leading.begin()
    *first, last = acks.split()
    assert all(leading.ack(name, probe) is None for name in first)
    lease = leading.ack(last, probe)
    assert leading.world.judge(lease).probe.epoch == 2
    assert len(Lease.decode(lease.body).acks) == len(acks.split())


def test_the_same_acks_after_the_change_need_only_the_new_quorum():
    leading = Leading(Joint("a b c", "a b d"))
    probe = leading.begin(electorates=(leading.world.new,))
    leading.ack("b", probe)
    assert leading.world.judge(leading.ack("d", probe), leading.world.new).voters == {"b", "d"}


def test_a_holder_that_is_being_removed_is_waited_for():
    leading = Leading(Joint("a b c d", "a b c"))
    probe = leading.begin()
    for name in "abc":
        assert leading.ack(name, probe, outstanding=("d",)) is None
    leading.world.judge(leading.ack("d", probe))


def test_a_rotated_holder_moves_on_under_its_old_key_only():
    leading = Leading(Joint("a b c d", "a b c d'"))
    probe = leading.begin()
    for name in ("a", "b", "c", "d'"):
        assert leading.ack(name, probe, outstanding=("d",)) is None
    leading.world.judge(leading.ack("d", probe))


def test_the_nonce_that_is_granted_is_that_of_the_key_after_the_change():
    leading = Leading(Joint("a b c", "a b' c"))
    probe = leading.begin()
    leading.ack("b", probe, nonce=leading.world.nonce(1))
    leading.ack("b'", probe, nonce=leading.world.nonce(2))
    assert Probe.decode(leading.begin().body).grants == {"b": leading.world.nonce(2)}


def test_who_leaves_with_the_change_is_granted_nothing_at_it():
    leading = Leading(Joint("a b c", "a b"))
    before = leading.begin(4, (leading.world.old,))
    leading.ack("c", before, nonce=leading.world.nonce(1))
    assert Probe.decode(leading.begin(4, (leading.world.old,)).body).grants == {"c": leading.world.nonce(1)}
    assert Probe.decode(leading.begin(5).body).grants == {}


def test_nobody_is_remembered_who_is_no_member_any_more():
    leading = Leading(Joint("a b c", "a b"))
    leading.ack("c", leading.begin())
    leading.begin(6, (leading.world.new,))
    assert leading.leader._heard == {}


def test_the_rounds_of_both_electorates_end_with_the_first_that_is_complete():
    leading = Leading(Joint("a b c", "a b"))
    first, second = leading.begin(), leading.begin()
    leading.ack("a", first)
    assert leading.ack("b", first) is not None
    leading.ack("a", second)
    assert leading.ack("b", second) is None


def test_progress_is_that_of_the_key_and_only_while_it_is_heard():
    leading = Leading(Joint("a b c", "a b' c"))
    leading.ack("b'", leading.begin())
    world, now = leading.world, leading.now
    assert leading.leader.progress(world.new.find("b"), now) == 5
    assert leading.leader.progress(world.old.find("b"), now) is None
    assert leading.leader.progress(world.new.find("b"), BoottimeNs(now + 300 * NS_PER_MS)) is None
