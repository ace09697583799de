"""Permits of later epochs: proven from the genesis by the links that the file carries."""

from __future__ import annotations

import json

import pytest

from govraft.core.evidence.permit_file import prove_permit
from govraft.core.evidence.receipt import prove_receipt
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED

NOW = CREATED + 101_000


@pytest.fixture
def world() -> EvidenceSample:
    """n4 was added at seq 7 and is a voter from seq 8 on: three of four make a quorum."""
    world = EvidenceSample()
    world.add_observer("n4")
    world.promote("n4")
    return world


def refused(world: EvidenceSample, data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        prove_permit(data, world.sample.genesis, at=NOW)
    return caught.value.code


FOUR = ("n1", "n2", "n4")


def test_a_permit_of_a_later_epoch_is_proven(world) -> None:
    world.quarantine(9)
    data = world.permit(nodes=FOUR, certificate=world.certificate(nodes=FOUR))
    proven = prove_permit(data, world.sample.genesis, at=NOW)
    assert (proven.statement.epoch, proven.voters, proven.leaf.epoch) == (3, FOUR, 3)


def test_a_permit_at_the_very_change_is_proven(world) -> None:
    proven = prove_permit(
        world.permit(nodes=FOUR, certificate=world.certificate(nodes=FOUR)), world.sample.genesis, at=NOW
    )
    assert proven.statement.seq == 8


def test_the_quorum_is_that_of_the_epoch(world) -> None:
    certificate = world.certificate(nodes=FOUR)
    assert refused(world, world.permit(nodes=("n1", "n2"), certificate=certificate)) == "threshold_unmet"
    assert refused(world, world.permit(nodes=FOUR, certificate=world.certificate())) == "certificate_invalid"


def test_any_changed_byte_of_the_links_fails(world) -> None:
    data = world.permit(nodes=FOUR, certificate=world.certificate(nodes=FOUR))
    begin, end = data.index(b'"epochs"'), data.index(b'"format"')
    assert end - begin > 5_000
    for place in range(begin, end, 11):
        for change in (data[place] ^ 1, data[place] ^ 0x20):
            refused(world, data[:place] + bytes([change]) + data[place + 1 :])


def test_stray_bits_of_the_links_fail(world) -> None:
    """Decoders forgive what stands behind the last byte; a file does not."""
    text = world.permit(nodes=FOUR, certificate=world.certificate(nodes=FOUR)).decode()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    places = [place for place in range(1, len(text)) if text[place] == "=" and text[place - 1] in letters]
    assert len(places) > 10
    for place in places:
        stray = letters[letters.index(text[place - 1]) ^ 1]
        refused(world, (text[: place - 1] + stray + text[place:]).encode())


def test_missing_swapped_and_foreign_links_are_refused(world) -> None:
    links = world.chain()
    certificate = world.certificate(nodes=FOUR)
    assert refused(world, world.permit(nodes=FOUR, certificate=certificate, links=[])) == "epoch_unknown"
    assert refused(world, world.permit(nodes=FOUR, certificate=certificate, links=links[:1])) == "epoch_unknown"
    for wrong in (links[1:], links[::-1], [*links, links[-1]], [links[0], links[0]]):
        refused(world, world.permit(nodes=FOUR, certificate=certificate, links=wrong))


def test_an_electorate_that_is_no_more_permits_nothing(world) -> None:
    """n1 and n2 were a quorum in epoch 1; what they sign about a later seq is void to who sees the links."""
    statement = world.permit_statement(epoch=1)
    assert refused(world, world.permit(statement, certificate=world.certificate())) == "wrong_epoch"


def test_who_left_signs_nothing_any_more(world) -> None:
    world.remove("n1")
    nodes = ("n2", "n3", "n4")
    proven = prove_permit(
        world.permit(nodes=nodes, certificate=world.certificate(nodes=nodes)), world.sample.genesis, at=NOW
    )
    assert proven.statement.epoch == 4
    assert refused(world, world.permit(nodes=("n1", "n2"), certificate=world.certificate(nodes=nodes)))


def test_a_receipt_of_a_later_epoch_is_proven(world) -> None:
    world.quarantine(9)
    fields = world.receipt(9, command_id="c8", lease=world.lease(nodes=FOUR))
    proven = prove_receipt(json.dumps(fields).encode(), world.sample.genesis)
    assert (proven.leaf.epoch, proven.voters) == (3, FOUR)
    with pytest.raises(VerificationError):
        prove_receipt(json.dumps(fields | {"epochs": []}).encode(), world.sample.genesis)
    with pytest.raises(VerificationError):
        prove_receipt(json.dumps(world.receipt(9, command_id="c8")).encode(), world.sample.genesis)
