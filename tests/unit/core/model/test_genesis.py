"""Genesis: a table of everything that must be refused, and the identity that follows from the bytes."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from govraft.core.codec.canonical import pack_json
from govraft.core.crypto.digests import digest
from govraft.core.model import limits
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.errors import DecodeError
from govraft.testing.sample import SampleCluster, seeded_key

SAMPLE = SampleCluster(observers=1).genesis
FIELDS: dict[str, Any] = json.loads(SAMPLE.encode())


def decode(**changes: object) -> Genesis:
    return Genesis.decode(pack_json({**FIELDS, **changes}))


def with_item(field: str, place: int, **changes: object) -> list[Any]:
    items: list[Any] = copy.deepcopy(FIELDS[field])
    items[place].update(changes)
    return items


def new_key(name: str) -> str:
    return base64.b64encode(seeded_key(name).public_key().public_bytes_raw()).decode()


def test_round_trip_and_identity() -> None:
    data = SAMPLE.encode()
    genesis = Genesis.decode(data)
    assert genesis == SAMPLE
    assert genesis.encode() == data
    assert genesis.cluster_id == digest("genesis", data).hex()
    assert genesis.origin == f"govraft.dev/{genesis.cluster_id}"
    electorate = genesis.electorate()
    assert (electorate.epoch, electorate.rule, len(electorate.voters)) == (1, QuorumRule.MAJORITY, 3)
    assert electorate.members == genesis.members
    assert SampleCluster(name="other").genesis.cluster_id != genesis.cluster_id


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version": 2}, "version"),
        ({"version": True}, "version"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * (limits.NAME_CHARS + 1)}, "name"),
        ({"created": 0}, "created"),
        ({"created": 10**15}, "created"),
        ({"nonce": "0" * 31}, "nonce"),
        ({"nonce": "0" * 32 + "\n"}, "nonce"),
        ({"nonce": "A" * 32}, "nonce"),
        ({"quorum": "all"}, "quorum"),
        ({"lease_ms": 99}, "lease_ms"),
        ({"lease_ms": limits.LEASE_MS + 1}, "lease_ms"),
        ({"clock_drift_max_ppm": -1}, "clock_drift_max_ppm"),
        ({"clock_drift_max_ppm": limits.CLOCK_DRIFT_PPM + 1}, "clock_drift_max_ppm"),
        ({"clock_skew_max_ms": 0}, "clock_skew_max_ms"),
        ({"members": []}, "members"),
        ({"members": FIELDS["members"][::-1]}, "members"),
        ({"members": [*FIELDS["members"], FIELDS["members"][-1]]}, "members"),
        ({"members": [{**member, "voter": False} for member in FIELDS["members"]]}, "members"),
        ({"members": with_item("members", 0, id="")}, "id"),
        ({"members": with_item("members", 0, id="a b")}, "id"),
        ({"members": with_item("members", 0, id="a+b")}, "id"),
        ({"members": with_item("members", 0, id="a" * 64)}, "id"),
        ({"members": with_item("members", 0, public_key="AA==")}, "members[0].public_key"),
        ({"members": with_item("members", 0, public_key="!")}, "members[0].public_key"),
        ({"members": with_item("members", 1, public_key="é")}, "members[1].public_key"),
        ({"members": with_item("members", 0, public_key=new_key("x"))}, "members[0].certificate"),
        ({"members": with_item("members", 0, certificate="AA==")}, "members[0].certificate"),
        ({"members": with_item("members", 0, certificate=FIELDS["members"][1]["certificate"])}, "certificate"),
        ({"members": with_item("members", 0, address="nowhere")}, "members[0].address"),
        ({"members": with_item("members", 0, address="host:65536")}, "members[0].address"),
        ({"members": with_item("members", 0, address="a b:1")}, "members[0].address"),
        ({"members": with_item("members", 0, voter=1)}, "voter"),
        ({"members": with_item("members", 0, more=1)}, "more"),
        ({"authorities": FIELDS["authorities"][::-1]}, "authorities"),
        ({"authorities": with_item("authorities", 0, id="a b")}, "id"),
        ({"authorities": with_item("authorities", 0, roles=[])}, "authorities[0].roles"),
        ({"authorities": with_item("authorities", 0, roles=["root", "operator"])}, "authorities[0].roles"),
        ({"authorities": with_item("authorities", 0, roles=["root", "root"])}, "authorities[0].roles"),
        ({"authorities": with_item("authorities", 0, roles=["king"])}, "roles"),
        ({"authorities": []}, "thresholds"),
        ({"thresholds": {"operator": 1, "policy": 1}}, "thresholds"),
        ({"thresholds": {"operator": 1, "policy": 1, "root": 1, "auditor": 2}}, "thresholds.auditor"),
        ({"thresholds": {"operator": 1, "policy": 1, "root": 1, "attestor": 1}}, "thresholds.attestor"),
        ({"thresholds": {"operator": 1, "policy": 1, "root": 1, "emergency": 1}}, "thresholds.emergency"),
        ({"thresholds": {"operator": 1, "policy": 1, "root": 1, "auditor": 0}}, "thresholds"),
        ({"thresholds": {"operator": 1, "policy": 1, "root": 1, "king": 1}}, "thresholds"),
        ({"thresholds": {"operator": 0, "policy": 1, "root": 1}}, "thresholds"),
        ({"thresholds": {"operator": 1, "policy": 3, "root": 1}}, "thresholds.policy"),
        ({"more": 1}, "more"),
    ],
)
def test_unusable_fields_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(**changes)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_field_is_required(field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Genesis.decode(pack_json({name: value for name, value in FIELDS.items() if name != field}))
    assert field in str(caught.value)


def test_a_key_counts_once() -> None:
    members, authorities = FIELDS["members"], FIELDS["authorities"]
    shared = {"public_key": members[0]["public_key"], "certificate": members[0]["certificate"]}
    for changes in (
        {"members": with_item("members", 1, **shared)},
        {"authorities": with_item("authorities", 1, public_key=authorities[0]["public_key"])},
        {"authorities": with_item("authorities", 0, public_key=members[0]["public_key"])},
    ):
        with pytest.raises(DecodeError, match="twice"):
            decode(**changes)


def test_small_order_keys_are_refused() -> None:
    weak = base64.b64encode((1).to_bytes(32, "little")).decode()
    with pytest.raises(DecodeError, match="usable"):
        decode(authorities=with_item("authorities", 0, public_key=weak))


def test_boundaries_are_accepted() -> None:
    assert decode(lease_ms=limits.LEASE_LEAST_MS).lease_ms == limits.LEASE_LEAST_MS
    assert decode(lease_ms=limits.LEASE_MS, clock_drift_max_ppm=0).clock_drift_max_ppm == 0
    assert decode(thresholds={"operator": 2, "policy": 2, "root": 2}).thresholds["policy"] == 2
    assert decode(members=with_item("members", 0, address="[::1]:7001")).members[0].address == "[::1]:7001"
    assert len(SampleCluster(voters=9).genesis.electorate().voters) == 9
    with pytest.raises(DecodeError, match="voters"):
        SampleCluster(voters=10)
    with pytest.raises(DecodeError, match="observers"):
        SampleCluster(voters=1, observers=limits.OBSERVERS + 1)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", json.dumps(FIELDS).encode(), SAMPLE.encode() + b"\n", b"\xff"])
def test_other_spellings_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Genesis.decode(data)


@pytest.mark.parametrize("role", ["attestor", "auditor", "emergency"])
def test_other_roles_may_have_a_threshold_if_they_can_meet_it(role: str) -> None:
    thresholds = {"operator": 1, "policy": 1, "root": 2, role: 2}
    authorities = copy.deepcopy(FIELDS["authorities"])
    for place, item in enumerate(authorities):
        item["roles"] = sorted({*item["roles"], role} if place < 2 else {*item["roles"]} - {role}) or ["root"]
    assert decode(authorities=authorities, thresholds=thresholds).thresholds[role] == 2
    with pytest.raises(DecodeError, match=f"thresholds.{role}"):
        decode(authorities=authorities, thresholds={**thresholds, role: 3})


def test_base64_has_one_spelling() -> None:
    key = FIELDS["authorities"][0]["public_key"]
    # The last character before the padding carries two bits that decoders drop.
    other = key[:-2] + chr(ord(key[-2]) + 1) + "="
    assert base64.b64decode(other) == base64.b64decode(key)
    with pytest.raises(DecodeError):
        decode(authorities=with_item("authorities", 0, public_key=other))


def test_size_is_limited() -> None:
    with pytest.raises(DecodeError):
        Genesis.decode(b" " * (limits.GENESIS_BYTES + 1))


def test_each_field_changes_the_cluster_id() -> None:
    changes: list[Callable[[], Genesis]] = [
        lambda: decode(name="other"),
        lambda: decode(created=FIELDS["created"] + 1),
        lambda: decode(nonce="0" * 32),
        lambda: decode(quorum="byzantine"),
        lambda: decode(lease_ms=2_000),
        lambda: decode(clock_skew_max_ms=1),
        lambda: decode(members=FIELDS["members"][:-1]),
        lambda: decode(thresholds={"operator": 2, "policy": 1, "root": 2}),
    ]
    ids = {change().cluster_id for change in changes}
    assert len(ids) == len(changes)
    assert SAMPLE.cluster_id not in ids
