import pytest

from govraft.core.convergence.messages import Ack, Lease, Probe
from govraft.core.convergence.round import ROUNDS_OPEN_MAX, RoundLeader
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.units import NS_PER_MS, BoottimeNs


class Leading:
    def __init__(self, world):
        self.world, self.now = world, BoottimeNs(10**12)
        self.leader = RoundLeader(
            node_id="a",
            origin=world.origin,
            cluster=world.cluster,
            timing=world.timing,
            recent_ns=300 * NS_PER_MS,
            signing=world.signing("a"),
        )

    def begin(self, seq=1, term=1):
        return self.leader.begin(
            seq=seq,
            root=self.world.root(seq),
            sections=self.world.sections,
            electorates=(self.world.electorate,),
            term=term,
            now=self.now,
            wall=self.world.wall,
        )

    def take(self, signed):
        ack = Ack.decode(signed.body)
        return self.leader.take(signed, ack, self.world.electorate.find(ack.node), self.now)

    def ack(self, node, probe, **changes):
        return self.take(self.world.ack(node, probe, **changes))

    def wait(self, ms: int) -> None:
        self.now = BoottimeNs(self.now + ms * NS_PER_MS)


@pytest.fixture
def leading(world):
    return Leading(world)


def acks_of(lease) -> list[str]:
    return [ack.signer for ack in Lease.decode(lease.body).acks]


def grants_of(probe) -> dict[str, bytes]:
    return Probe.decode(probe.body).grants


def test_a_quorum_completes_a_round_and_holders_believe_it(world, leading):
    probe = leading.begin(4)
    assert leading.ack("a", probe) is None
    lease = leading.ack("b", probe)
    assert world.verify(lease).voters == {"a", "b"}
    assert leading.ack("c", probe) is None, "the round is over"


def test_the_same_voter_twice_is_no_quorum(leading):
    probe = leading.begin()
    assert leading.ack("b", probe) is None
    assert leading.ack("b", probe, nonce=leading.world.nonce(3)) is None


def test_observers_complete_nothing(make_world):
    leading = Leading(make_world("abc", observers="o"))
    probe = leading.begin()
    assert leading.ack("a", probe) is None
    assert leading.ack("o", probe) is None


def test_a_silent_holder_is_waited_for(world, leading):
    probe = leading.begin(4)
    leading.ack("a", probe)
    assert leading.ack("b", probe, outstanding=("c",)) is None
    lease = leading.ack("c", probe)
    assert set(acks_of(lease)) >= {"a", "c"}
    world.verify(lease)


def test_a_holder_that_moved_on_earlier_is_believed(world, leading):
    earlier = leading.begin(4)
    leading.ack("c", earlier)
    probe = leading.begin(4)
    leading.ack("a", probe, outstanding=("c",))
    lease = leading.ack("b", probe, outstanding=("c",))
    assert acks_of(lease) == ["a", "b", "c"]
    assert world.verify(lease).voters == {"a", "b"}


def test_a_round_is_not_open_for_longer_than_a_lease(leading):
    """Whoever lost its store meanwhile has been silent for longer, and may have told others that it acked nothing."""
    probe = leading.begin(4)
    leading.ack("a", probe)
    leading.wait(989)
    assert leading.ack("a", probe) is None
    leading.wait(1)
    assert leading.ack("b", probe) is None


def test_who_moved_on_long_ago_must_say_so_again(leading):
    """Its store may be lost since, and it may hold a lease of an older state again."""
    leading.ack("c", leading.begin(4))
    leading.wait(990)
    probe = leading.begin(4)
    leading.ack("a", probe, outstanding=("c",))
    assert leading.ack("b", probe, outstanding=("c",)) is None
    assert acks_of(leading.ack("c", probe)) == ["a", "b", "c"]


def test_an_ack_of_a_lower_seq_is_no_moving_on(leading):
    leading.ack("c", leading.begin(3))
    probe = leading.begin(4)
    leading.ack("a", probe, outstanding=("c",))
    assert leading.ack("b", probe, outstanding=("c",)) is None


def test_a_voter_that_waits_for_a_ghost_does_not_stop_the_others(make_world):
    world = make_world("abcd", rule=QuorumRule.BYZANTINE)
    leading = Leading(world)
    probe = leading.begin(4)
    assert leading.ack("d", probe, outstanding=("ghost",)) is None
    assert leading.ack("a", probe) is None
    assert leading.ack("b", probe, outstanding=("d",)) is None
    lease = leading.ack("c", probe)
    assert acks_of(lease) == ["a", "b", "c", "d"], "the liar's ack shows that it has moved on itself"
    assert world.verify(lease).voters == {"a", "b", "c"}


@pytest.mark.parametrize("lie", [{"root": bytes(32)}, {"seq": 9}, {"round": 99}], ids=str)
def test_an_ack_that_names_the_probe_but_another_state_spoils_nothing(world, leading, lie):
    probe = leading.begin(4)
    leading.ack("c", probe, **lie)
    assert leading.ack("a", probe) is None
    world.verify(leading.ack("b", probe))


def test_grants_are_for_those_heard_from_recently(world, leading):
    leading.ack("b", leading.begin(), nonce=world.nonce(1))
    leading.wait(200)
    leading.ack("c", leading.begin(), nonce=world.nonce(2))
    assert grants_of(leading.begin()) == {"b": world.nonce(1), "c": world.nonce(2)}
    leading.wait(100)
    assert grants_of(leading.begin()) == {"c": world.nonce(2)}
    leading.wait(200)
    assert grants_of(leading.begin()) == {}


def test_the_latest_nonce_is_granted_and_an_older_ack_does_not_bring_back_a_lower_seq(world, leading):
    early = leading.begin(3)
    leading.ack("b", leading.begin(4), nonce=world.nonce(2))
    leading.ack("b", early, nonce=world.nonce(1))
    assert grants_of(leading.begin(4)) == {"b": world.nonce(2)}


def test_rounds_on_one_state_stay_open_side_by_side_but_only_a_few(world, leading):
    probes = [leading.begin(4) for _ in range(ROUNDS_OPEN_MAX + 3)]
    leading.ack("a", probes[0])
    assert leading.ack("b", probes[0]) is None, "the oldest were given up"
    leading.ack("a", probes[-2])
    world.verify(leading.ack("b", probes[-2]))
    assert len(leading.leader._open) == 1


@pytest.mark.parametrize("change", [{"seq": 5}, {"term": 2}], ids=str)
def test_a_newer_state_gives_up_the_older_rounds(leading, change):
    old = leading.begin(4)
    leading.begin(**({"seq": 4} | change))
    leading.ack("a", old)
    assert leading.ack("b", old) is None


def test_who_stops_leading_completes_nothing(leading):
    probe = leading.begin()
    leading.ack("a", probe)
    leading.leader.close()
    assert leading.ack("b", probe) is None


def test_acks_of_different_probes_are_not_mixed(leading):
    first, second = leading.begin(4), leading.begin(4)
    leading.ack("a", first)
    assert leading.ack("b", second) is None


def test_holders_that_all_moved_on_hold_up_nobody(leading):
    probe = leading.begin(4)
    leading.ack("a", probe, outstanding=("a", "b"))
    assert leading.ack("b", probe, outstanding=("a", "b")) is not None


def test_of_two_acks_at_one_seq_the_later_ones_nonce_is_granted(world, leading):
    for number in (1, 2):
        leading.ack("b", leading.begin(4), nonce=world.nonce(number))
    assert grants_of(leading.begin(4)) == {"b": world.nonce(2)}


def test_open_rounds_are_bounded(leading):
    for _ in range(50):
        leading.begin(4)
        assert len(leading.leader._open) <= ROUNDS_OPEN_MAX
    assert len(leading.leader._open) == ROUNDS_OPEN_MAX


def test_observers_do_not_sign_the_certificate(make_world):
    world = make_world("abc", observers="o")
    leading = Leading(world)
    probe = leading.begin(4)
    leading.ack("o", probe)
    leading.ack("a", probe)
    note = Lease.decode(leading.ack("b", probe).body).note
    assert note == world.note(4, "ab")


def test_an_ack_of_the_future_is_as_good_as_none(world, leading):
    """The lease would be none for everybody."""
    probe = leading.begin(4)
    leading.ack("a", probe)
    late_s = world.wall // 1000 + 4
    assert leading.ack("b", probe, time_s=late_s) is None
    assert grants_of(leading.begin(4)).keys() == {"a"}, "no grant either"
    assert acks_of(leading.ack("c", probe)) == ["a", "c"]


def test_a_holder_that_moved_on_in_the_future_is_waited_for(world, leading):
    probe = leading.begin(4)
    leading.ack("c", probe, time_s=2**62)
    leading.ack("a", probe)
    assert leading.ack("b", probe, outstanding=("c",)) is None
    assert acks_of(leading.ack("c", probe)) == ["a", "b", "c"]


def test_a_round_is_open_for_no_longer_than_a_lease(world, leading):
    probe = leading.begin(4)
    leading.ack("a", probe)
    leading.wait(990)
    assert leading.ack("b", probe) is None
    again = leading.begin(4)
    leading.ack("a", again)
    leading.wait(989)
    assert leading.ack("b", again) is not None
    assert leading.leader.completed == 1
