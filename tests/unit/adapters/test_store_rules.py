"""The rules of the store, one by one, at their boundaries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from govraft.adapters.store_rules import Progress, advance
from govraft.errors import InvariantViolation
from govraft.ports.store import CosignerRecord, HardState, JournalEntry, WriteBatch

ROOT = bytes(32)
OTHER_ROOT = bytes([1]) * 32


def batch(*writes: Callable[[WriteBatch], None]) -> WriteBatch:
    made = WriteBatch()
    for write in writes:
        write(made)
    return made


def append(index: int, term: int = 1) -> Callable[[WriteBatch], None]:
    return lambda made: made.append(JournalEntry(index, term, b"x"))


def truncate(index: int) -> Callable[[WriteBatch], None]:
    return lambda made: made.truncate_from(index)


def hard(term: int, voted_for: str | None = None, commit_index: int = 0) -> Callable[[WriteBatch], None]:
    return lambda made: made.set_hard_state(HardState(term, voted_for, commit_index))


def leaf(seq: int) -> Callable[[WriteBatch], None]:
    return lambda made: made.add_leaf(seq, b"leaf")


def cosigner(seq: int, root: bytes = ROOT) -> Callable[[WriteBatch], None]:
    return lambda made: made.set_cosigner(CosignerRecord(seq, root))


def isolate(reason: str) -> Callable[[WriteBatch], None]:
    return lambda made: made.set_isolation(reason, "", b"")


def epoch(number: int, seq: int) -> Callable[[WriteBatch], None]:
    return lambda made: made.add_epoch(number, seq, b"lease", b"", b"", b"")


def after(*writes: Callable[[WriteBatch], None], start: Progress | None = None) -> Progress:
    return advance(start or Progress(), batch(*writes))


def refuses(message: str, *writes: Callable[[WriteBatch], None], start: Progress | None = None) -> None:
    with pytest.raises(InvariantViolation, match=message):
        after(*writes, start=start)


def test_epochs_follow_each_other_without_gaps() -> None:
    assert after(epoch(2, 2), epoch(3, 9)).epoch_seqs == (2, 9)
    refuses("epoch 3 does not follow epoch 1", epoch(3, 9))
    refuses("epoch 1 does not follow", epoch(1, 1))
    refuses("epoch 2 must begin after seq 1", epoch(2, 1))
    refuses("epoch 3 must begin after seq 9", epoch(2, 9), epoch(3, 9))
    refuses("must begin after", epoch(2, 2**63))


def test_an_epoch_is_never_replaced() -> None:
    assert after(epoch(2, 5), epoch(3, 9), epoch(2, 5)).epoch_seqs == (5, 9)
    refuses("epoch 2 began at seq 5, not at 6", epoch(2, 5), epoch(3, 9), epoch(2, 6))


def test_an_empty_batch_changes_nothing() -> None:
    assert after() == Progress()
    assert batch().is_empty
    assert not batch(leaf(1)).is_empty


@pytest.mark.parametrize("index", [1, 3, 5])
def test_journal_entries_follow_each_other(index: int) -> None:
    refuses("does not follow", append(2), append(3), append(index))
    assert after(append(2), append(3), append(4)).journal_last == 4


@pytest.mark.parametrize(("index", "term"), [(0, 1), (-1, 1), (2**63, 1), (1, -1), (1, 2**63)])
def test_journal_numbers_are_in_range(index: int, term: int) -> None:
    refuses("out of range", append(index, term))


def test_truncation_never_crosses_the_commit_index() -> None:
    start = after(append(1), append(2), append(3), hard(1, None, 2))
    assert after(truncate(3), start=start).journal_last == 2
    for index in (2, 1, 0, -5):
        refuses("would drop committed", truncate(index), start=start)


def test_a_commit_in_the_same_batch_protects_too() -> None:
    refuses("would drop committed", append(1), hard(1, None, 1), truncate(1))


def test_a_truncated_journal_goes_on_where_it_was_cut() -> None:
    start = after(append(1), append(2), truncate(1))
    assert (start.journal_first, start.journal_last) == (1, 0)
    refuses("does not follow", append(2), start=start)
    assert after(append(1), start=start).journal_last == 1


def test_truncation_above_the_end_or_of_nothing_changes_nothing() -> None:
    assert after(truncate(1)) == Progress()
    start = after(append(1))
    assert after(truncate(2), start=start) == start
    refuses("before the journal", truncate(1), start=after(append(5)))


def test_the_commit_index_stays_within_the_journal() -> None:
    refuses("must not pass", append(1), hard(1, None, 2))
    refuses("must not pass", hard(1, None, 2))
    # An engine's built-in first entry is committed before anything is stored.
    assert after(hard(1, None, 1)).hard_state.commit_index == 1
    assert after(hard(1, None, 2), append(1), append(2)).hard_state.commit_index == 2


def test_the_commit_index_never_falls() -> None:
    start = after(append(1), append(2), hard(1, None, 2))
    refuses("must not fall", hard(2, None, 1), start=start)


def test_the_term_never_falls() -> None:
    refuses("term must not fall", hard(2), hard(1))
    refuses("out of range", hard(-1))


def test_a_vote_never_changes_within_a_term() -> None:
    start = after(hard(3, "a"))
    refuses("cast already", hard(3, "b"), start=start)
    refuses("cast already", hard(3, None), start=start)
    assert after(hard(3, "a"), start=start) == start
    assert after(hard(4, "b"), start=start).hard_state.voted_for == "b"
    assert after(hard(3), hard(3, "b")).hard_state.voted_for == "b"


@pytest.mark.parametrize("seq", [-1, 0, 1, 3])
def test_leaves_follow_each_other_from_one(seq: int) -> None:
    refuses("does not follow leaf", leaf(1), leaf(seq))
    refuses("does not follow leaf", leaf(2))
    assert after(leaf(1), leaf(2)).leaf_count == 2


def test_the_cosigner_record_only_rises() -> None:
    start = after(cosigner(5))
    refuses("must not go from seq 5 to 4", cosigner(4), start=start)
    refuses("must not go from seq 5 to 5 or to another root", cosigner(5, OTHER_ROOT), start=start)
    assert after(cosigner(5), start=start) == start
    assert after(cosigner(6, OTHER_ROOT), start=start).cosigner == CosignerRecord(6, OTHER_ROOT)


@pytest.mark.parametrize(("seq", "root"), [(0, ROOT), (-1, ROOT), (1, b""), (1, bytes(31)), (2**63, ROOT)])
def test_a_cosigner_record_is_well_formed(seq: int, root: bytes) -> None:
    refuses("out of range", cosigner(seq, root))


def test_the_first_isolation_wins() -> None:
    progress = after(isolate("first"), isolate("second"))
    assert progress.isolation is not None
    assert progress.isolation.reason == "first"
    again = after(isolate("third"), start=progress).isolation
    assert again is not None
    assert again.reason == "first"


def end_late(made: WriteBatch) -> None:
    made.end_late()


def test_a_late_store_takes_no_vote_and_no_signature() -> None:
    start = Progress(late=True)
    refuses("a late store must not take a vote", hard(1, "n2"), start=start)
    refuses("a late store must not take a cosigner record", cosigner(5), start=start)
    taken = after(append(1), leaf(1), epoch(2, 3), hard(4, None, 1), isolate("x"), start=start)
    assert taken.late, "what it is told it keeps"
    done = after(end_late, cosigner(5), hard(4, "n1", 1), start=taken)
    assert not done.late
    assert after(end_late, start=done) == done
