"""The search for a linearization against a brute-force one and against histories of known verdict."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.testing.checkers.linearizability import MARKS_OF_A_TARGET
from govraft.testing.checkers.linearization import Model, Operation, linearize

PUBLISHED = Path(__file__).parent / "published_histories" / "etcd.txt"


def register_step(state, action):
    """A register of one value: read, write, compare-and-set and a compare-and-set that is known to have failed."""
    kind, *values = action
    if kind == "write":
        return values[0]
    if kind == "cas":
        return values[1] if state == values[0] else None
    if kind == "failed":
        return state if state != values[0] else None
    return state if state == values[0] else None


REGISTER = Model("-", register_step)


def brute_force(operations, model):
    """Every subset of the unknown ones, every order: dumb on purpose, and shares no idea with the search."""
    known = [item for item in operations if item.returned is not None]
    unknown = [item for item in operations if item.returned is None and not item.is_read]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            if any(_is_possible(order, model) for order in itertools.permutations([*known, *chosen])):
                return True
    return False


def _is_possible(order, model):
    for place, item in enumerate(order):
        if any(later.returned is not None and later.returned < item.called for later in order[place + 1 :]):
            return False
    state = model.initial
    for item in order:
        state = model.step(state, item.action)
        if state is None:
            return False
    return True


def histories(writes, reads):
    def operation(called, length, action, is_unknown):
        kind, is_read = action
        return Operation(called, None if is_unknown and not is_read else called + length, kind, is_read)

    actions = st.one_of(
        st.sampled_from(writes).map(lambda item: (item, False)), st.sampled_from(reads).map(lambda item: (item, True))
    )
    one = st.builds(operation, st.integers(0, 12), st.integers(0, 6), actions, st.integers(0, 4).map(lambda n: n == 0))
    return st.lists(one, max_size=6)


MARK_HISTORIES = histories(["quarantine", "release", "revoke"], ["allow", "quarantined", "revoked"])
REGISTER_HISTORIES = histories(
    [("write", "1"), ("write", "2"), ("cas", "1", "2"), ("cas", "-", "1")],
    [("read", "-"), ("read", "1"), ("read", "2"), ("failed", "1")],
)


@settings(max_examples=600, deadline=None)
@given(MARK_HISTORIES)
def test_marks_as_brute_force_says(operations):
    assert linearize(operations, MARKS_OF_A_TARGET).ok is brute_force(operations, MARKS_OF_A_TARGET)


@settings(max_examples=600, deadline=None)
@given(REGISTER_HISTORIES)
def test_a_register_as_brute_force_says(operations):
    assert linearize(operations, REGISTER).ok is brute_force(operations, REGISTER)


def test_both_verdicts_occur_among_those_histories():
    """Else the comparison would say nothing."""
    seen = set()

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(MARK_HISTORIES.filter(lambda found: len(found) >= 4))
    def collect(operations):
        seen.add(linearize(operations, MARKS_OF_A_TARGET).ok)

    collect()
    assert seen == {True, False}


def published():
    name, verdict, lines = "", False, []
    for line in [*PUBLISHED.read_text().splitlines(), "= end linearizable"]:
        if line.startswith("="):
            if name:
                yield pytest.param(lines, verdict, id=name)
            _, name, said = line.split(maxsplit=2)
            verdict, lines = said == "linearizable", []
        elif not line.startswith("#"):
            lines.append(line.split())


def parsed(lines):
    operations, called = [], {}
    for moment, (process, kind, action, *values) in enumerate(lines):
        if kind == "i":
            called[process] = (moment, values)
            continue
        began, asked = called.pop(process)
        returned = None if kind == "t" else moment
        if action == "w":
            operations.append(Operation(began, returned, ("write", *asked), False))
        elif action == "c" and kind == "f":
            operations.append(Operation(began, returned, ("failed", asked[0]), True))
        elif action == "c":
            operations.append(Operation(began, returned, ("cas", *asked), False))
        elif kind == "o":
            operations.append(Operation(began, returned, ("read", *values), True))
    for began, asked in called.values():
        assert asked == ["-"], "only reads are left without an end in these histories"
        operations.append(Operation(began, None, ("read", "-"), True))
    return operations


@pytest.mark.parametrize(("lines", "verdict"), list(published()))
def test_published_histories_get_their_known_verdict(lines, verdict):
    assert linearize(parsed(lines), REGISTER).ok is verdict


def test_there_are_published_histories_of_both_verdicts():
    verdicts = [item.values[1] for item in published()]
    assert verdicts.count(True) == verdicts.count(False) == 8


def operation(called, returned, action):
    return Operation(called, returned, action, action in ("allow", "quarantined", "revoked"))


def test_an_effect_may_come_between_two_overlapping_reads():
    history = [operation(0, 100, "quarantine"), operation(10, 20, "allow"), operation(30, 40, "quarantined")]
    assert linearize(history, MARKS_OF_A_TARGET).ok


def test_an_effect_that_was_seen_stays():
    history = [operation(0, 100, "quarantine"), operation(10, 20, "quarantined"), operation(30, 40, "allow")]
    finding = linearize(history, MARKS_OF_A_TARGET)
    assert finding.ok is False
    assert finding.stuck_at == 2
    assert finding.states == ("quarantined",)


def test_operations_that_touch_in_time_are_concurrent():
    assert linearize([operation(0, 10, "quarantine"), operation(10, 20, "allow")], MARKS_OF_A_TARGET).ok
    assert not linearize([operation(0, 10, "quarantine"), operation(11, 20, "allow")], MARKS_OF_A_TARGET).ok


def test_an_unknown_effect_may_come_late_or_never_but_not_early():
    unknown = operation(5, None, "quarantine")
    assert linearize([unknown, operation(50, 60, "allow"), operation(70, 80, "quarantined")], MARKS_OF_A_TARGET).ok
    assert linearize([unknown, operation(50, 60, "allow")], MARKS_OF_A_TARGET).ok
    assert not linearize([unknown, operation(1, 4, "quarantined")], MARKS_OF_A_TARGET).ok
    again = [operation(50, 60, "quarantined"), operation(70, 80, "allow"), operation(90, 99, "quarantined")]
    assert not linearize([unknown, operation(61, 69, "release"), *again, operation(81, 89, "release")],
                         MARKS_OF_A_TARGET).ok  # fmt: skip


def test_many_unknown_effects_do_not_exhaust_the_search():
    """They are counted by kind; told apart they would be 2^200 configurations."""
    history = [operation(0, None, kind) for kind in ("quarantine", "release") for _ in range(100)]
    history += [operation(10 * n, 10 * n + 5, "quarantined" if n % 2 else "allow") for n in range(1, 190)]
    assert linearize(history, MARKS_OF_A_TARGET, budget=5_000).ok
    history += [operation(10 * n, 10 * n + 5, "quarantined" if n % 2 else "allow") for n in range(190, 220)]
    assert linearize(history, MARKS_OF_A_TARGET, budget=5_000).ok is False


def test_a_spent_budget_is_no_verdict():
    # All effects overlap: which of them came before which return must be searched.
    writes = [Operation(0, 1000 + n, ("write", str(n)), False) for n in range(9)]
    reads = [Operation(10 * n, 10 * n + 5, ("read", str(n)), True) for n in range(9)]
    assert linearize([*writes, *reads], REGISTER).ok
    finding = linearize([*writes, *reads], REGISTER, budget=20)
    assert finding.ok is None
    assert finding.stuck_at >= 0
