"""Flow control of one follower."""

from __future__ import annotations

from govraft.adapters.engine.progress import WINDOW_BYTES, Progress


def replicating(match: int = 5) -> Progress:
    progress = Progress(next_index=match + 1)
    progress.note_match(match)
    assert not progress.is_probing
    return progress


def test_a_probe_waits_for_its_answer() -> None:
    progress = Progress(next_index=6)
    assert progress.is_due(0.0, 9, 0, 0.1)
    progress.note_sent(0.0, 9, 100, 0)
    assert not progress.is_due(0.05, 9, 3, 0.1)
    assert progress.is_due(0.1, 9, 3, 0.1)
    assert progress.next_index == 6
    progress.note_match(9)
    assert (progress.next_index, progress.match_index, progress.is_probing) == (10, 9, False)


def test_an_older_answer_does_not_end_a_probe() -> None:
    progress = Progress(next_index=6)
    progress.note_match(3)
    assert progress.is_probing


def test_a_rejection_only_lowers() -> None:
    progress = Progress(next_index=10)
    for prev, hint, expected in ((9, 500, 9), (9, 2, 9), (8, 3, 3), (7, 1, 3)):
        progress.note_rejected(prev, hint)
        assert progress.next_index == expected
    progress.note_match(2)
    progress.note_sent(0.0, 20, 10, 0)
    progress.note_rejected(2, 1)
    assert progress.next_index == 21
    progress.note_rejected(21, 1)  # never sent
    assert progress.next_index == 21
    progress.note_rejected(20, 1)
    assert (progress.next_index, progress.is_probing) == (3, True)


def test_what_matched_stays_matched() -> None:
    progress = replicating(match=9)
    progress.note_match(3)
    assert (progress.match_index, progress.next_index) == (9, 10)


def test_a_probe_heeds_only_the_answer_to_itself() -> None:
    progress = Progress(next_index=10)
    progress.note_sent(0.0, 12, 10, 0)
    progress.note_rejected(7, 3)
    assert progress.next_index == 10
    assert not progress.is_due(0.0, 12, 0, 0.1)


def test_the_window_bounds_what_is_on_the_way() -> None:
    progress = replicating()
    for index in range(6, 14):
        assert progress.has_room
        progress.note_sent(0.0, index, WINDOW_BYTES // 8, 0)
    assert not progress.has_room
    assert not progress.is_due(0.0, 99, 0, 0.1)
    assert progress.is_due(0.0, 99, 1, 0.1)  # the commit index still goes out
    progress.note_match(6)
    assert progress.is_due(0.0, 99, 0, 0.1)


def test_a_new_link_may_lead_to_a_lost_log() -> None:
    progress = replicating()
    matched = progress.match_index
    progress.note_link_up()
    assert progress.match_index == 0 < matched
    progress.note_rejected(progress.next_index - 1, 1)
    assert progress.next_index == 1
    progress.note_match(3)
    assert (progress.match_index, progress.next_index) == (3, 4)


def test_a_new_link_starts_from_what_matches() -> None:
    progress = replicating()
    progress.note_sent(0.0, 50, WINDOW_BYTES, 0)
    progress.note_link_up()
    assert (progress.next_index, progress.is_probing, progress.has_room) == (6, True, True)
    fresh = Progress(next_index=30)
    fresh.note_link_up()
    assert fresh.next_index == 30


def test_nothing_new_is_not_due() -> None:
    progress = replicating()
    assert not progress.is_due(9.0, 5, 0, 0.1)
    assert progress.is_due(9.0, 6, 0, 0.1)
