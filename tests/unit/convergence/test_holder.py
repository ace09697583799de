import pytest

from govraft.core.convergence.certificate import VerifiedLease
from govraft.core.convergence.holder import NONCES_MAX, Holder
from govraft.core.convergence.messages import Probe
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.errors import InvariantViolation

WALL = WallMs(1_700_000_000_000)
HOLD = 990 * NS_PER_MS


@pytest.fixture
def holder(world):
    return Holder(node_id="b", timing=world.timing)


def lease(world, seq: int = 1, nonce: bytes | None = None, *, holder: str = "b", **changes) -> VerifiedLease:
    grants = {} if nonce is None else {holder: nonce}
    probe = Probe.decode(world.probe(seq, grants=grants, **changes).body)
    return VerifiedLease(probe, frozenset("ac"), b"note")


def ms(count: float) -> BoottimeNs:
    return BoottimeNs(int(count * NS_PER_MS))


def test_a_lease_counts_from_its_nonce(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    assert holder.accept(lease(world, nonce=world.nonce(1)), ms(900), WALL)
    assert holder.lease.begin == ms(100)
    assert holder.lease.end == ms(100) + HOLD
    assert holder.lease.is_live(BoottimeNs(holder.lease.end - 1))
    assert not holder.lease.is_live(holder.lease.end)


def test_a_lease_that_arrives_after_its_end_is_none(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    assert not holder.accept(lease(world, nonce=world.nonce(1)), BoottimeNs(ms(100) + HOLD), WALL)
    assert holder.lease is None


def test_a_lease_is_not_live_before_it_began(world, holder):
    """A clock that went backwards is no reason to serve."""
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    holder.accept(lease(world, nonce=world.nonce(1)), ms(101), WALL)
    assert not holder.lease.is_live(ms(99))


@pytest.mark.parametrize("grant", ["none", "unknown", "of another"])
def test_only_an_own_nonce_makes_a_lease(world, holder, grant):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    verified = {
        "none": lease(world),
        "unknown": lease(world, nonce=world.nonce(2)),
        "of another": lease(world, nonce=world.nonce(1), holder="c"),
    }[grant]
    assert not holder.accept(verified, ms(200), WALL)
    assert holder.lease is None


def test_no_lease_below_the_floor(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    holder.stop_below(5)
    assert not holder.accept(lease(world, 4, world.nonce(1)), ms(200), WALL)
    assert holder.accept(lease(world, 5, world.nonce(1)), ms(200), WALL)
    holder.stop_below(3)
    assert holder.lease is not None
    holder.stop_below(6)
    assert holder.lease is None
    assert not holder.accept(lease(world, 5, world.nonce(1)), ms(300), WALL)


def test_a_replayed_lease_never_lasts_longer(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    holder.accept(lease(world, nonce=world.nonce(1)), ms(200), WALL)
    end = holder.lease.end
    for at in (300, 800, 1089):
        assert not holder.accept(lease(world, nonce=world.nonce(1), round=at), ms(at), WALL)
        assert holder.lease.end == end


def test_only_a_better_lease_replaces_one(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    holder.remember_nonce(world.nonce(2), ms(200), WALL)
    assert holder.accept(lease(world, 2, world.nonce(2), term=2), ms(300), WALL)
    assert not holder.accept(lease(world, 1, world.nonce(2), term=9), ms(300), WALL)
    assert not holder.accept(lease(world, 2, world.nonce(2), term=1), ms(300), WALL)
    assert not holder.accept(lease(world, 2, world.nonce(1), term=2), ms(300), WALL)
    assert holder.accept(lease(world, 2, world.nonce(1), term=3), ms(300), WALL)
    assert holder.accept(lease(world, 3, world.nonce(1), term=1), ms(300), WALL)


def test_dropping_forgets_the_nonces_too(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    holder.accept(lease(world, nonce=world.nonce(1)), ms(200), WALL)
    holder.drop()
    assert holder.lease is None
    assert not holder.accept(lease(world, nonce=world.nonce(1)), ms(200), WALL)


def test_nonces_are_bounded_and_must_be_fresh(world, holder):
    for number in range(NONCES_MAX + 50):
        holder.remember_nonce(world.nonce(number), ms(1 + number / 1000), WALL)
    assert len(holder._made) <= NONCES_MAX
    with pytest.raises(InvariantViolation):
        holder.remember_nonce(world.nonce(NONCES_MAX), ms(10), WALL)
    with pytest.raises(InvariantViolation):
        holder.remember_nonce(b"short", ms(10), WALL)
    holder.remember_nonce(world.nonce(10**6), ms(5000), WALL)
    assert len(holder._made) == 1


@pytest.mark.parametrize(
    ("boot_ms", "wall_ms", "agree"),
    [(500, 500, True), (500, 1000, True), (500, 1001, False), (500, 0, True), (500, -1, False), (0, 501, False)],
)
def test_clocks_that_part_are_noticed(world, holder, boot_ms, wall_ms, agree):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    holder.accept(lease(world, nonce=world.nonce(1)), ms(100), WALL)
    assert (abs(holder.lease.jumped_ms(ms(100 + boot_ms), WallMs(WALL + wall_ms))) <= 500) is agree


@pytest.mark.parametrize(("wall_ms", "is_held"), [(0, True), (500, True), (501, False), (-500, True), (-501, False)])
def test_no_lease_by_a_wall_clock_that_is_apart(world, holder, wall_ms, is_held):
    """The leader signed between the nonce and now, by its own clock at `WALL`."""
    own = WallMs(WALL + wall_ms)
    holder.remember_nonce(world.nonce(1), ms(100), own)
    assert holder.accept(lease(world, nonce=world.nonce(1), wall=WALL), ms(100), own) is is_held


def test_two_moments_of_the_own_clock_enclose_the_signing(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    later = WallMs(WALL + 900)
    for leader, apart in ((WALL - 500, 0), (WALL - 501, 501), (WALL + 1400, 0), (WALL + 1401, -501)):
        granting = lease(world, nonce=world.nonce(1), wall=leader).probe
        assert holder.apart_ms(granting, ms(1000), later) == (apart, True)
    # Without a nonce that is remembered, delay and difference cannot be told apart.
    assert holder.apart_ms(lease(world, wall=WALL).probe, ms(1000), later) == (900, False)
    granting = lease(world, nonce=world.nonce(1), wall=WALL).probe
    assert holder.apart_ms(granting, BoottimeNs(ms(100) + HOLD), later) == (900, False)


def test_a_clock_that_was_set_forward_since_the_nonce_encloses_no_more_than_a_grant(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    granting = lease(world, nonce=world.nonce(1), wall=WallMs(WALL + 50)).probe
    assert holder.apart_ms(granting, ms(200), WallMs(WALL + 3_900_000))[0] > 3_800_000


def test_no_lease_of_what_this_version_does_not_know(world, holder):
    holder.remember_nonce(world.nonce(1), ms(100), WALL)
    for changes in ({"wall": None}, {"more": {"imports": 1}}):
        assert not holder.accept(lease(world, nonce=world.nonce(1), **changes), ms(200), WALL)
