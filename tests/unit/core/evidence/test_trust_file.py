"""The file of a trust state: one spelling, of one cluster."""

from __future__ import annotations

import json

import pytest

from govraft.core.evidence.trust import Trust
from govraft.errors import InputError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.evidence_worlds import new_members
from govraft.testing.sample import SampleCluster


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return new_members()


def spelled(fields: dict) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def test_it_is_read_as_it_was_written(world) -> None:
    trust = world.trust()
    data = trust.encode()
    again = Trust.decode(data, world.sample.genesis)
    assert (again, type(again)) == (trust, Trust)
    assert Trust.decode(data + b"\n", world.sample.genesis) == trust
    assert len(trust.fingerprint) == 64
    assert trust.fingerprint != world.trust(12).fingerprint


def test_what_is_no_trust_state_of_this_cluster_is_refused(world) -> None:
    genesis, good = world.sample.genesis, json.loads(world.trust().encode())
    members = good["electorate"]
    wrong = [
        {},
        {**good, "format": "govraft.trust.v2"},
        {**good, "more": 1},
        {**good, "cluster": "x"},
        {**good, "epoch": 0},
        {**good, "epoch": 1},
        {**good, "seq": 0},
        {**good, "seq": 2**53},
        {**good, "root": "00"},
        {**good, "root": good["root"].upper()},
        {**good, "electorate": []},
        {**good, "electorate": members[::-1]},
        {**good, "electorate": [members[0], members[0]]},
        {**good, "electorate": [members[0], {**members[1], "public_key": members[0]["public_key"]}]},
        {**good, "electorate": [{**members[0], "public_key": "AA=="}]},
        {**good, "electorate": [{**members[0], "voter": 1}]},
        {**good, "electorate": [{**item, "voter": False} for item in members]},
    ]
    for fields in wrong:
        with pytest.raises(InputError):
            Trust.decode(spelled(fields), genesis)
    for data in (b"", b"nonsense", b"[]", json.dumps(good).encode(), world.trust().encode() + b"\n\n", b"\xff" * 99):
        with pytest.raises(InputError):
            Trust.decode(data, genesis)
    other = EvidenceSample(SampleCluster(name="other"))
    with pytest.raises(InputError) as caught:
        Trust.decode(other.trust().encode(), genesis)
    assert caught.value.code == "wrong_cluster"


def test_two_states_of_one_history_are_told_from_two_histories(world) -> None:
    from govraft.errors import VerificationError

    def conflicts(one: Trust, other: Trust) -> bool:
        try:
            one.refuse_other(other)
        except VerificationError as error:
            assert error.code == "conflict"
            return True
        return False

    older, trust = EvidenceSample().trust(), world.trust()
    assert not conflicts(trust, trust)
    assert not conflicts(trust, older)
    assert not conflicts(older, trust)
    assert not conflicts(world.trust(12), trust)
    assert conflicts(trust, Trust(trust.cluster, trust.electorate, trust.seq, bytes(32)))
    assert conflicts(trust, Trust(trust.cluster, older.electorate, trust.seq + 1, bytes(32)))
    assert conflicts(older, Trust(trust.cluster, trust.electorate, older.seq, older.root))
    assert conflicts(older, Trust(trust.cluster, trust.electorate, older.seq - 1, bytes(32)))
