"""Each rule of the protocol, removed alone, gives a stale allow; kept, the same run gives none.

The checker is thereby seen to fail on what it is there for. Source: protocol, rules marked ★, and the gate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec
import pytest
from simulation.arena import Arena
from simulation.checkers import ConvergenceWatcher, StaleAllowError

from govraft.core.convergence import certificate
from govraft.core.convergence.cosigner import Cosigner, Refusal
from govraft.core.convergence.holder import Holder, _Made
from govraft.core.convergence.messages import Probe
from govraft.core.convergence.round import RoundLeader
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.electorate import Electorate
from govraft.core.model.units import NS_PER_MS
from govraft.node.gate import Gate, Standing
from govraft.ports.store import WriteBatch

Plant = Callable[[pytest.MonkeyPatch], None]


def arena(**options: object) -> Arena:
    return Arena(watcher=ConvergenceWatcher(), **options)


def certified(sim: Arena) -> int:
    return sim.watcher.certified_seq


# Scenarios. Each ends well under the rules.


def a_lease_outlives_its_holders_link() -> Arena:
    """`b` grants `a` a lease; `a` is cut off; `b` and `c` move on."""
    sim = arena()
    _b_serves_a(sim)
    sim.partition("a")
    _b_and_c_move_on(sim)
    sim.step(2500)
    assert certified(sim) == 2
    return sim


def a_granting_voter_restarts() -> Arena:
    """As above, but `b` has forgotten its grant by the time it is asked."""
    sim = arena()
    _b_serves_a(sim)
    sim.partition("a")
    sim.crash("b")
    sim.start("b")
    _b_and_c_move_on(sim)
    sim.step(2500)
    assert certified(sim) == 2
    return sim


def an_old_leader_asks_again() -> Arena:
    """`b` and `c` certify seq 2; then `b` believes in `a`, which is still at seq 1."""
    sim = arena()
    sim.partition("a")
    _b_and_c_move_on(sim)
    sim.step(300)
    assert certified(sim) == 2
    _a_asks_b(sim)
    sim.step(1000)
    return sim


def a_voter_restarts_and_an_old_leader_asks_again() -> Arena:
    sim = arena()
    sim.partition("a")
    _b_and_c_move_on(sim)
    sim.step(300)
    assert certified(sim) == 2
    sim.crash("b")
    sim.start("b")
    _a_asks_b(sim)
    sim.step(2000)
    return sim


def a_voter_crashes_before_its_ack_is_durable(*, early_send: bool = False) -> Arena:
    """`b` crashes while its write, which takes 400 ms, is under way."""
    sim = arena()
    sim.early_send = early_send
    sim.step(10)
    sim.write_ms = (400, 400)
    sim.partition("a")
    _b_and_c_move_on(sim)
    sim.step(300)
    sim.crash("b", lands=False)
    sim.write_ms = (0, 0)
    sim.start("b")
    _a_asks_b(sim)
    sim.step(2000)
    return sim


def a_lease_arrives_late() -> Arena:
    """`a`'s first nonce is granted at once, but the leases take 600 ms to reach it; its later acks are lost."""
    sim = arena()
    sim.slow("b", "a", "lease", 600)
    sim.partition("c")
    sim.lead("b", "a")
    sim.step(150)
    sim.sever("a", "b")
    sim.step(800)
    sim.partition("a")
    sim.heal()
    sim.partition("a")
    _b_and_c_move_on(sim)
    sim.step(2000)
    assert certified(sim) == 2
    return sim


def clocks_run_apart() -> Arena:
    """The holder's clock is 1 % slow and the voters' 1 % fast: the most that is permitted."""
    sim = arena(rates={"a": 0.99, "b": 1.01, "c": 1.01}, heartbeat_ms=4)
    sim.delay_ms = (1, 1)
    _b_serves_a(sim)
    sim.partition("a")
    _b_and_c_move_on(sim)
    sim.step(1500)
    assert certified(sim) == 2
    return sim


def a_holder_moves_on_and_its_new_lease_is_slow() -> Arena:
    """`a` acks seq 2, which makes it effective at once; its lease at seq 1 would still run."""
    sim = arena()
    sim.lead("b", "a", "c")
    sim.step(300)
    assert sim.serving("a")
    sim.slow("b", "a", "lease", 300)
    sim.commit()
    sim.advance("a", "b", "c")
    sim.step(600)
    assert certified(sim) == 2
    return sim


def two_leaders_at_once() -> Arena:
    sim = arena()
    sim.lead("a")
    sim.step(300)
    _b_and_c_move_on(sim)
    sim.step(2500)
    assert certified(sim) == 2
    return sim


def _b_serves_a(sim: Arena) -> None:
    sim.partition("c")
    sim.lead("b", "a")
    sim.step(300)
    assert sim.serving("a")
    sim.heal()


def _b_and_c_move_on(sim: Arena) -> None:
    sim.commit()
    sim.advance("b", "c")
    sim.lead("c", "b")


def _a_asks_b(sim: Arena) -> None:
    sim.heal()
    sim.partition("c")
    sim.lead("a", "b")


# Plants.


def no_outstanding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cosigner, "_outstanding", lambda self, seq, now: ())


def no_waiting_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cosigner, "is_ready", lambda self, now: True)


def no_memory_of_the_highest_ack(patch: pytest.MonkeyPatch) -> None:
    original = Cosigner._refusal

    def refusal(self: Cosigner, *given: object) -> Refusal | None:
        found = original(self, *given)
        return None if found is Refusal.REGRESSED else found

    patch.setattr(Cosigner, "_refusal", refusal)


def no_record_on_disk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WriteBatch, "set_cosigner", lambda self, record: None)


def leases_counted_from_receipt(patch: pytest.MonkeyPatch) -> None:
    """Only leases: wall clocks are compared by when the nonce was made, as ever."""
    original, judge = Holder.accept, Holder.apart_ms
    true: dict[bytes, _Made] = {}

    def accept(self: Holder, verified: certificate.VerifiedLease, now: int, wall: int) -> bool:
        nonce = verified.probe.grants.get(self._node_id)
        if nonce in self._made and self.lease is None:
            made = true.setdefault(nonce, self._made[nonce])
            self._made[nonce] = _Made(now, made.wall + (now - made.boottime) // NS_PER_MS)
        return original(self, verified, now, wall)

    def apart_ms(self: Holder, probe: Probe, now: int, wall: int) -> tuple[int, bool]:
        moved, self._made = self._made, {nonce: true.get(nonce, made) for nonce, made in self._made.items()}
        try:
            return judge(self, probe, now, wall)
        finally:
            self._made = moved

    patch.setattr(Holder, "accept", accept)
    patch.setattr(Holder, "apart_ms", apart_ms)


def clocks_trusted_to_be_exact(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaseTiming, "grant_ns", property(lambda self: self.lease_ms * NS_PER_MS))
    patch.setattr(LeaseTiming, "hold_ns", property(lambda self: self.lease_ms * NS_PER_MS))


def careless_leader(patch: pytest.MonkeyPatch) -> None:
    original = RoundLeader._evidence

    def evidence(self: RoundLeader, opened: object, now: int) -> object:
        acks = opened.acks
        opened.acks = {
            node: (signed, msgspec.structs.replace(ack, outstanding=())) for node, (signed, ack) in acks.items()
        }
        try:
            return original(self, opened, now)
        finally:
            opened.acks = acks

    patch.setattr(RoundLeader, "_evidence", evidence)


def careless_leader_and_holders(patch: pytest.MonkeyPatch) -> None:
    careless_leader(patch)
    original = certificate._granting_voters

    def granting(lease: object, probe: object, acks: list, electorate: Electorate) -> frozenset[str]:
        forgiving = [(member, msgspec.structs.replace(ack, outstanding=())) for member, ack in acks]
        return original(lease, probe, forgiving, electorate)

    patch.setattr(certificate, "_granting_voters", granting)


def one_voter_is_a_quorum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Electorate, "quorum_count", property(lambda self: 1))


def serving_goes_on_after_the_ack(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holder, "stop_below", lambda self, seq: None)
    original = Gate._synchrony

    def synchrony(self: Gate, lease: object, at_least: int) -> Standing:
        found = original(self, lease, at_least)
        return Standing(lease) if self._machine.seq > lease.seq else found

    patch.setattr(Gate, "_synchrony", synchrony)


CASES: list[tuple[Callable[[], Arena], Plant]] = [
    (a_lease_outlives_its_holders_link, no_outstanding),
    (a_lease_outlives_its_holders_link, careless_leader_and_holders),
    (a_granting_voter_restarts, no_waiting_after_a_restart),
    (an_old_leader_asks_again, no_memory_of_the_highest_ack),
    (a_voter_restarts_and_an_old_leader_asks_again, no_record_on_disk),
    (a_lease_arrives_late, leases_counted_from_receipt),
    (clocks_run_apart, clocks_trusted_to_be_exact),
    (a_holder_moves_on_and_its_new_lease_is_slow, serving_goes_on_after_the_ack),
    (two_leaders_at_once, one_voter_is_a_quorum),
]


@contextlib.contextmanager
def planted(plant: Plant) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        yield


@pytest.mark.parametrize("scenario", dict.fromkeys(scenario for scenario, _ in CASES), ids=lambda item: item.__name__)
def test_under_the_rules_nobody_is_stale(scenario):
    sim = scenario()
    assert sim.watcher.unverified == 0


@pytest.mark.parametrize(("scenario", "plant"), CASES, ids=lambda item: item.__name__)
def test_a_missing_rule_is_noticed(scenario, plant):
    with planted(plant), pytest.raises(StaleAllowError):
        scenario()


def test_an_ack_leaves_only_once_it_is_durable():
    a_voter_crashes_before_its_ack_is_durable()
    with pytest.raises(StaleAllowError):
        a_voter_crashes_before_its_ack_is_durable(early_send=True)


def test_a_leader_that_skips_the_outstanding_rule_convinces_nobody():
    with planted(careless_leader):
        sim = a_lease_outlives_its_holders_link()
    assert sim.watcher.unverified > 0
