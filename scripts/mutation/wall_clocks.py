"""Protocol §3 and §9: the leader's wall clock in the probe, and the times of acks."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["WALL_CLOCK_MUTANTS"]

_CORE = "govraft/core/convergence"
_UNIT = "tests/unit/convergence"
_CLOCKS = ("tests/unit/node/test_wall_clocks.py",)
_REIGN = "govraft/node/reign.py"

WALL_CLOCK_MUTANTS = (
    Mutant(
        "acks-by-another-clock",
        "★ a voter answers only a probe whose leader's wall clock may be near its own",
        f"{_CORE}/cosigner.py",
        "        if view.apart_ms(probe):\n            return Refusal.CLOCK_APART\n",
        "",
        (f"{_UNIT}/test_cosigner.py", *_CLOCKS),
    ),
    Mutant(
        "lease-by-another-clock",
        "★ a holder takes no lease by a wall clock that its own cannot be near",
        f"{_CORE}/holder.py",
        "        if probe.foreign or self.apart_ms(probe, now, wall)[0]:\n",
        "        if probe.foreign:\n",
        (f"{_UNIT}/test_holder.py", *_CLOCKS),
    ),
    Mutant(
        "clock-ahead-unnoticed",
        "★ a wall clock that is ahead of the leader's is noticed",
        f"{_CORE}/timing.py",
        "        if since - self.skew_ms > leader:\n            return since - leader\n",
        "",
        (f"{_UNIT}/test_timing.py", *_CLOCKS),
    ),
    Mutant(
        "clock-behind-unnoticed",
        "★ a wall clock that is behind the leader's is noticed",
        f"{_CORE}/timing.py",
        "        if leader > until + self.skew_ms:\n            return until - leader\n",
        "",
        (f"{_UNIT}/test_timing.py", *_CLOCKS),
    ),
    Mutant(
        "nonces-of-long-ago-enclose",
        "a nonce whose lease would be over says nothing of when a probe was signed",
        f"{_CORE}/holder.py",
        "        if made is None or now >= self._timing.lease_end(made.boottime):\n",
        "        if made is None:\n",
        (f"{_UNIT}/test_holder.py",),
    ),
    Mutant(
        "answers-what-it-cannot-read",
        "no probe is answered that says what this version does not know",
        f"{_CORE}/cosigner.py",
        "        if probe.foreign:\n            return Refusal.FOREIGN\n",
        "",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "any-statement-is-known",
        "an unknown statement of a probe makes it foreign",
        f"{_CORE}/messages.py",
        "        unknown = self.more.keys() - _STATEMENTS\n",
        "        unknown = set[str]()\n",
        (f"{_UNIT}/test_messages.py",),
    ),
    Mutant(
        "acks-without-their-cosignature-count",
        "the time of an ack is what its node cosigned",
        f"{_CORE}/certificate.py",
        "        verify_cosignature(ack, member, origin, is_valid=is_valid)\n        if not timing",
        "        if not timing",
        (f"{_UNIT}/test_certificate.py",),
    ),
    Mutant(
        "acks-of-the-future-count",
        "no ack of a lease is dated long after its probe",
        f"{_CORE}/certificate.py",
        "        if not timing.is_timely(ack.time_s, probe.wall):\n",
        "        if timing.is_timely(0, 0) is None:\n",
        (f"{_UNIT}/test_certificate.py", "tests/unit/core/evidence/test_receipt_times.py"),
    ),
    Mutant(
        "leader-takes-acks-of-the-future",
        "a leader leaves out an ack that would make its lease none",
        f"{_CORE}/round.py",
        "        return self._timing.is_timely(time_s, opened.content.wall)\n",
        "        return True\n",
        (f"{_UNIT}/test_round.py",),
    ),
    Mutant(
        "receipt-past-all-dates",
        "no receipt promises a time that has no date",
        "govraft/core/evidence/receipt.py",
        "    if until + PERMIT_MS > _TIME_MOST_MS:\n",
        "    if until < 0:\n",
        ("tests/unit/core/evidence/test_receipt_times.py",),
    ),
    Mutant(
        "leader-never-gives-up",
        "a leader that is followed, and completes no round, resigns",
        _REIGN,
        "            sequencer.resign(_LEASES_ASIDE * self._grant_ns / _NS_PER_S)\n",
        "",
        _CLOCKS,
    ),
    Mutant(
        "leader-without-followers-gives-up",
        "a leader resigns only while voters that make a quorum with it follow its log",
        _REIGN,
        "            if len(voters) < 2 or len(voters & held) < electorate.quorum_count:\n",
        "            if len(voters) < 2:\n",
        ("tests/unit/node/test_reign.py",),
    ),
    Mutant(
        "resigned-leader-stands-at-once",
        "who resigned does not stand for three leases",
        "govraft/adapters/engine/elections.py",
        "            self._stands_from = self._now() + seconds\n",
        "",
        ("tests/unit/engine/test_cluster.py",),
    ),
)
