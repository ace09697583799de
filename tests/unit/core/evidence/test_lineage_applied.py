"""An export of what is applied, certified or not: it proves no more than the epochs that are certified in it."""

import pytest
from unit.core.evidence.changed_members import ChangedMembers

from govraft.core.evidence.evidence import is_lineage
from govraft.core.evidence.lineage_export import (
    encode_end,
    encode_epoch,
    encode_header,
    encode_record,
    is_of_applied,
    prove_lineage,
    read_applied,
)
from govraft.errors import VerificationError


@pytest.fixture(scope="module")
def changed():
    return ChangedMembers("add n4", "promote n4", "remove n1")


def lines_of(changed, certified: int, last: int = 4) -> list[bytes]:
    """All leaves up to `last`, and the certificates of the epochs up to `certified`."""
    lines = [encode_header(changed.sample.genesis, last=last, applied=True)]
    for seq, (leaf, entry) in enumerate(zip(changed.leaves, changed.entries, strict=True), 1):
        lines.append(encode_record(seq, leaf, entry))
        if 1 < seq <= certified:
            lines.append(encode_epoch(seq, changed.leases[seq]))
    return lines


@pytest.mark.parametrize("certified", [1, 2, 3, 4])
def test_what_is_certified_and_what_waits_are_told_apart(changed, certified):
    kept = []
    waiting = read_applied(
        lines_of(changed, certified), changed.sample.genesis, lambda epoch, seq, change: kept.append((epoch, seq))
    )
    assert kept == [(epoch, epoch) for epoch in range(2, certified + 1)]
    assert [item.epoch for item in waiting] == list(range(certified + 1, 5))
    if certified < 4:
        assert waiting[-1] == changed.machine.electorate


def test_it_is_no_lineage_export(changed):
    lines = lines_of(changed, 4)
    assert is_of_applied(lines[0]) and is_lineage(b"".join(lines))
    for more in ([], [encode_end(changed.note(["n2", "n3", "n4"]))]):
        with pytest.raises(VerificationError, match="learn-epochs"):
            prove_lineage([*lines, *more], changed.sample.genesis)
    assert not is_of_applied(encode_header(changed.sample.genesis, last=4))
    assert not is_of_applied(b"{}")
    assert not is_of_applied(b"\xff")


@pytest.mark.parametrize("damage", ["cut", "altered", "swapped", "certificate", "foreign", "format", "skipped"])
def test_what_does_not_replay_is_refused(changed, damage):
    lines = lines_of(changed, 2)
    if damage == "cut":
        lines = lines[:-1]
    elif damage == "altered":
        lines[2] = lines[2].replace(b'"entry":"', b'"entry":"AA')
    elif damage == "swapped":
        lines[-1], lines[-2] = lines[-2], lines[-1]
    elif damage == "certificate":
        lines.append(encode_end(changed.note(["n2", "n3", "n4"])))
    elif damage == "foreign":
        lines[0] = lines[0].replace(changed.sample.genesis.cluster_id.encode(), b"0" * 64)
    elif damage == "format":
        lines[0] = encode_header(changed.sample.genesis, last=4)
    elif damage == "skipped":
        lines.append(encode_epoch(4, changed.leases[4]))
    with pytest.raises(VerificationError):
        read_applied(lines, changed.sample.genesis)
