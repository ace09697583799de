import pytest

from govraft.core.evidence.decisions import Noted
from govraft.node.decisions import BATCH_RECORDS, DecisionBuffer, DecisionMode


def make(mode=DecisionMode.BEST_EFFORT, **options):
    return DecisionBuffer(mode, "n1", **options)


def note(number, size=0):
    return Noted({"number": number}, b"x" * size or None)


def numbers(batch):
    return [item.fields.get("number", item.fields.get("dropped")) for item in batch.noted]


def test_what_is_added_is_taken_in_its_order():
    buffer = make()
    for number in range(5):
        assert buffer.add(note(number))
    batch = buffer.take(1)
    assert numbers(batch) == [0, 1, 2, 3, 4]
    assert buffer.size == 5
    buffer.written(batch)
    assert (buffer.size, buffer.recorded, buffer.has_work) == (0, 5, False)


def test_one_batch_is_under_way_at_a_time():
    buffer = make()
    buffer.add(note(0))
    batch = buffer.take(1)
    buffer.add(note(1))
    assert buffer.take(1) is None
    buffer.written(batch)
    assert numbers(buffer.take(1)) == [1]


def test_a_batch_has_an_end():
    buffer = make()
    for number in range(BATCH_RECORDS + 1):
        buffer.add(note(number))
    first = buffer.take(1)
    assert len(first.noted) == BATCH_RECORDS
    buffer.written(first)
    assert numbers(buffer.take(1)) == [BATCH_RECORDS]


@pytest.mark.parametrize(("options", "size"), [({"records_max": 3}, 0), ({"bytes_max": 30}, 10)])
def test_what_does_not_fit_is_dropped_and_counted_in_the_log(options, size):
    buffer = make(**options)
    assert [buffer.add(note(number, size)) for number in range(5)] == [True] * 3 + [False] * 2
    batch = buffer.take(77)
    assert numbers(batch) == [0, 1, 2, 2]
    assert batch.noted[-1].fields["time"] == 77 and batch.noted[-1].fields["kind"] == "gap"
    buffer.written(batch)
    assert (buffer.dropped, buffer.recorded, buffer.has_work) == (2, 3, False)


def test_room_is_given_back():
    buffer = make(bytes_max=30)
    for _ in range(3):
        for number in range(3):
            assert buffer.add(note(number, 10))
        buffer.written(buffer.take(1))
    assert buffer.dropped == 0


def test_a_gap_is_written_even_if_nothing_else_waits():
    buffer = make()
    buffer.drop()
    assert buffer.has_work
    assert numbers(buffer.take(1)) == [1]


def test_a_gap_comes_after_all_that_was_there_before_it():
    buffer = make(records_max=BATCH_RECORDS + 1)
    for number in range(BATCH_RECORDS + 3):
        buffer.add(note(number))
    first = buffer.take(1)
    assert first.dropped == 0
    buffer.written(first)
    assert numbers(buffer.take(1)) == [BATCH_RECORDS, 2]


def test_a_failed_batch_is_tried_again_as_it_was():
    buffer = make(records_max=3)
    for number in range(5):
        buffer.add(note(number))
    batch = buffer.take(1)
    buffer.failed(batch, "disk full")
    assert (buffer.failure, buffer.failures, buffer.refusal) == ("disk full", 1, "")
    again = buffer.take(2)
    assert numbers(again) == [0, 1, 2, 2]
    buffer.written(again)
    assert (buffer.failure, buffer.recorded, buffer.dropped) == ("", 3, 2)


def test_while_the_disk_fails_the_oldest_are_kept():
    buffer = make(records_max=3)
    for number in range(2):
        buffer.add(note(number))
    batch = buffer.take(1)
    for number in range(2, 5):
        buffer.add(note(number))
    buffer.failed(batch, "disk full")
    assert numbers(buffer.take(1)) == [0, 1, 2, 2]


def test_an_allow_is_told_when_its_record_is_durable():
    buffer, told = make(DecisionMode.STRICT), []
    buffer.add(note(0), told.append)
    batch = buffer.take(1)
    assert told == []
    buffer.written(batch)
    assert told == [""]


def test_a_failing_disk_in_strict_mode_refuses_every_allow():
    buffer, told = make(DecisionMode.STRICT), []
    buffer.add(note(0), told.append)
    buffer.add(note(1))
    batch = buffer.take(1)
    buffer.add(note(2), told.append)
    buffer.failed(batch, "disk full")
    assert told == ["disk full", "disk full"]
    assert buffer.refusal == "disk full"
    again = buffer.take(1)
    assert numbers(again) == [1]  # The allows became denials, which are noted anew.
    buffer.written(again)
    assert buffer.refusal == ""


def test_a_full_buffer_in_strict_mode_refuses_every_allow():
    buffer = make(DecisionMode.STRICT, records_max=2)
    assert buffer.refusal == ""
    buffer.add(note(0))
    buffer.add(note(1))
    assert "too many" in buffer.refusal
    assert make(records_max=0).refusal == ""


def test_a_disk_that_does_not_answer_refuses_until_it_does():
    buffer, told = make(DecisionMode.STRICT), []
    buffer.add(note(0), told.append)
    batch = buffer.take(1)
    buffer.add(note(1), told.append)
    buffer.add(note(2))
    buffer.stall("no answer")
    assert told == ["no answer"] * 2
    assert buffer.refusal == "no answer"
    buffer.written(batch)
    assert buffer.refusal == ""
    assert numbers(buffer.take(1)) == [2]


def test_whoever_is_told_may_add_a_decision():
    buffer = make(DecisionMode.STRICT)
    buffer.add(note(0), lambda why: buffer.add(note(10)))
    batch = buffer.take(1)
    buffer.add(note(1), lambda why: buffer.add(note(11)))
    buffer.failed(batch, "disk full")
    assert numbers(buffer.take(1)) == [10, 11]
