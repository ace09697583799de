import json

import msgspec
import pytest
from unit.core.evidence.changed_members import ChangedMembers

from govraft.core.codec.note import Checkpoint
from govraft.core.evidence.certificate import prove_checkpoint
from govraft.core.evidence.epochs import EpochHistory, decode_links, encode_links, verify_epochs
from govraft.core.machine.electorate_view import electorate_of
from govraft.errors import CertificateError, LineageError, VerificationError

STEPS = ("add n4", "promote n4", "remove n1")
"""Seqs 2, 3 and 4; epochs 2, 3 and 4."""


@pytest.fixture(scope="module")
def changed():
    return ChangedMembers(*STEPS)


def replaced(changed, place, **fields):
    links = list(changed.links)
    links[place] = msgspec.structs.replace(links[place], **fields)
    return links


@pytest.mark.clause("1 verifiable trust synchronization")
def test_the_electorates_follow_from_the_genesis(changed):
    history = verify_epochs(changed.sample.genesis, changed.links)
    assert history.newest == changed.machine.electorate
    assert history.newest_seq == 4
    assert [len(history.electorates[epoch].voters) for epoch in (1, 2, 3, 4)] == [3, 3, 4, 3]
    assert [history.in_force(seq).epoch for seq in (1, 2, 3, 4, 9)] == [1, 2, 3, 4, 4]
    assert [[item.epoch for item in history.judges(seq)] for seq in (1, 2, 3, 4, 5)] == [
        [1],
        [1, 2],
        [2, 3],
        [3, 4],
        [4],
    ]


def test_there_is_no_seq_0(changed):
    with pytest.raises(LineageError, match="seq 0"):
        EpochHistory(changed.sample.genesis).in_force(0)


@pytest.mark.clause("1 verifiable trust synchronization")
@pytest.mark.clause("3 trust convergence")
@pytest.mark.parametrize(
    ("step", "signers", "enough"),
    [
        ("promote n4", "n1 n2", False),
        ("promote n4", "n1 n2 n4", True),
        ("promote n4", "n3 n4", False),
        ("remove n1", "n2 n3", True),
        ("remove n1", "n1 n2", False),
    ],
)
def test_at_the_change_both_must_have_cosigned(step, signers, enough):
    steps = ["add n4", step] if step.startswith("promote") else [step]
    changed = ChangedMembers(*steps)
    links = replaced(changed, -1, note=changed.note(signers.split()))
    if enough:
        assert verify_epochs(changed.sample.genesis, links).newest == changed.machine.electorate
        assert prove_checkpoint(links[-1].note, changed.sample.genesis, links).epoch == changed.machine.epoch
        return
    with pytest.raises(CertificateError, match=" of .* cosignatures"):
        verify_epochs(changed.sample.genesis, links)
    with pytest.raises(CertificateError, match=" of .* cosignatures"):
        prove_checkpoint(changed.note(signers.split()), changed.sample.genesis, changed.links)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_link_may_be_missing_or_out_of_order(changed, place):
    links = [link for number, link in enumerate(changed.links) if number != place]
    if place == 2:
        assert verify_epochs(changed.sample.genesis, links).newest.epoch == 3
        return
    with pytest.raises(LineageError, match="does not follow"):
        verify_epochs(changed.sample.genesis, links)


def test_no_link_counts_twice(changed):
    with pytest.raises(LineageError, match="does not follow"):
        verify_epochs(changed.sample.genesis, [changed.links[0], changed.links[0]])


def spoil(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_each_part_of_a_link_counts(changed):
    last = changed.links[-1]
    member = next(key for key in last.records if key.startswith("member/"))
    earlier = changed.note(["n2", "n3", "n4"], changed.checkpoint(3))
    for lie in (
        {"epoch": 5},
        {"leaf": spoil(last.leaf)},
        {"leaf": changed.links[0].leaf},
        {"leaf": b""},
        {"records": {**last.records, member: spoil(last.records[member])}},
        {"records": {key: value for key, value in last.records.items() if key != member}},
        {"records": {**last.records, "retired/x": b"\1"}},
        {"records": {**last.records, "member/x": b"junk"}},
        {"records": {}},
        {"records": changed.links[1].records},
        {"note": b"junk"},
        {"note": earlier},
        {"note": changed.note(["n2", "n3", "n4"], Checkpoint(changed.sample.genesis.origin, 4, bytes(32)))},
        {"proof": last.proof[:-1]},
        {"proof": (bytes(32), *last.proof[1:])},
        {"proof": ()},
    ):
        with pytest.raises(VerificationError):
            verify_epochs(changed.sample.genesis, replaced(changed, -1, **lie))
    verify_epochs(changed.sample.genesis, changed.links)


def test_a_failed_link_is_not_learned(changed):
    history = EpochHistory(changed.sample.genesis)
    with pytest.raises(VerificationError):
        history.verify(msgspec.structs.replace(changed.links[0], proof=()))
    assert history.newest.epoch == 1
    assert history.verify(changed.links[0]) == electorate_of(changed.links[0].records)


def test_another_clusters_links_prove_nothing(changed):
    other = type(changed.sample)(name="other")
    with pytest.raises(VerificationError):
        verify_epochs(other.genesis, changed.links)


# Certificates in a history.


def test_a_certificate_is_judged_by_the_electorate_of_its_seq(changed):
    genesis = changed.sample.genesis
    note = changed.note(["n3", "n4"], changed.checkpoint(4))
    with pytest.raises(CertificateError, match="0 of 2"):
        prove_checkpoint(changed.note(["n4"], changed.checkpoint(3)), genesis, changed.links)
    changed_on = ChangedMembers(*STEPS, "add n5")
    proven = prove_checkpoint(changed_on.links[-1].note, genesis, changed_on.links)
    assert (proven.seq, proven.epoch, proven.cosigners) == (5, 5, ("n2", "n3", "n4"))
    with pytest.raises(CertificateError, match="2 of 3"):
        prove_checkpoint(note, genesis, changed.links)
    after = changed_on.note(["n1", "n4"], Checkpoint(genesis.origin, 9, bytes(32)))
    with pytest.raises(CertificateError, match="1 of 2"):
        prove_checkpoint(after, genesis, changed.links)


def test_a_certificate_of_a_former_electorate(changed):
    """Without the links it looks good; whoever knows the epoch is not taken in."""
    genesis = changed.sample.genesis
    forged = changed.note(["n1", "n2"], Checkpoint(genesis.origin, 9, bytes(32)))
    assert prove_checkpoint(forged, genesis).epoch == 1
    with pytest.raises(LineageError, match="not of epoch 4"):
        prove_checkpoint(forged, genesis, epoch=4)
    with pytest.raises(CertificateError, match="1 of 2"):
        prove_checkpoint(forged, genesis, changed.links)
    assert prove_checkpoint(changed.links[1].note, genesis, changed.links, epoch=3).epoch == 3


# Files.


def test_links_survive_a_file(changed):
    again = decode_links(json.loads(json.dumps(encode_links(changed.links))))
    assert verify_epochs(changed.sample.genesis, again).newest == changed.machine.electorate
    assert encode_links(again) == encode_links(changed.links)


@pytest.mark.parametrize(
    "spoiled",
    [None, {}, [1], [{}], [{"epoch": 1}], "x"],
)
def test_what_is_no_list_of_links_is_refused(spoiled):
    with pytest.raises(VerificationError, match="epochs"):
        decode_links(spoiled)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", 1),
        ("leaf", "!"),
        ("leaf", "é"),
        ("records", {"a": "!"}),
        ("proof", ["!"]),
        ("proof", "x"),
        ("more", 1),
    ],
)
def test_what_is_no_link_is_refused(changed, field, value):
    link = encode_links(changed.links)[0]
    with pytest.raises(VerificationError, match="epochs"):
        decode_links([{**link, field: value}])
