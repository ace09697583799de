import json

import pytest
from unit.core.evidence.changed_members import ChangedMembers

from govraft.core.codec.note import Checkpoint
from govraft.core.evidence.lineage_export import encode_end, encode_epoch, encode_header, encode_record, prove_lineage
from govraft.errors import VerificationError

STEPS = ("add n4", "promote n4", "remove n1")


@pytest.fixture(scope="module")
def changed():
    return ChangedMembers(*STEPS)


def lines_of(changed, *, certificate=None, leases=None) -> list[bytes]:
    machine, leases = changed.machine, changed.leases if leases is None else leases
    lines = [encode_header(changed.sample.genesis, last=machine.seq)]
    for seq, (leaf, entry) in enumerate(zip(changed.leaves, changed.entries, strict=True), 1):
        lines.append(encode_record(seq, leaf, entry))
        if seq in leases:
            lines.append(encode_epoch(seq, leases[seq]))
    return [*lines, encode_end(certificate or changed.note(["n2", "n3", "n4"]))]


def prove(changed, **options):
    return prove_lineage(lines_of(changed, **options), changed.sample.genesis)


def test_an_export_across_epochs_is_proven(changed):
    kept = []
    proven = prove_lineage(
        lines_of(changed), changed.sample.genesis, keep=lambda epoch, seq, change: kept.append((epoch, seq, change))
    )
    assert (proven.checkpoint.seq, proven.checkpoint.epoch) == (4, 4)
    assert [(epoch, seq) for epoch, seq, _ in kept] == [(2, 2), (3, 3), (4, 4)]
    assert [change.leaf for _, _, change in kept] == changed.leaves[1:]


@pytest.mark.parametrize("missing", [2, 3, 4])
def test_each_change_is_certified(changed, missing):
    leases = {epoch: lease for epoch, lease in changed.leases.items() if epoch != missing}
    with pytest.raises(VerificationError, match="is not certified"):
        prove(changed, leases=leases)


def test_the_certificate_of_a_change_is_of_both_and_of_its_state(changed):
    for lie in (
        changed.lease(["n2", "n3"]),
        changed.lease(["n1", "n2"]),
        changed.lease(["n1", "n2", "n3", "n4"], Checkpoint(changed.sample.genesis.origin, 4, bytes(32))),
        changed.lease(["n1", "n2", "n3", "n4"], Checkpoint(changed.sample.genesis.origin, 9, changed.machine.root)),
        changed.leases[3],
        b"junk",
        changed.leases[4][:-1] + b"\0",
    ):
        with pytest.raises(VerificationError):
            prove(changed, leases={**changed.leases, 4: lie})


def test_the_last_certificate_is_judged_by_the_last_electorate(changed):
    with pytest.raises(VerificationError, match="of 3 cosignatures"):
        prove(changed, certificate=changed.note(["n1", "n2"]))


def test_a_certificate_of_no_change_is_refused(changed):
    lines = lines_of(changed)
    for place in (1, 2):
        with pytest.raises(VerificationError, match="does not follow"):
            prove_lineage([*lines[:place], lines[3], *lines[place:]], changed.sample.genesis)


@pytest.mark.parametrize(
    "line", [{"epoch": 2}, {"epoch": 1, "lease": ""}, {"epoch": 2, "lease": "!"}, {"epoch": "2", "lease": ""}]
)
def test_a_malformed_line_is_named(changed, line):
    lines = lines_of(changed)
    lines[3] = json.dumps(line).encode()
    with pytest.raises(VerificationError, match="line 4"):
        prove_lineage(lines, changed.sample.genesis)
