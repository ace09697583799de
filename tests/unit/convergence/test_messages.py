import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.codec.canonical import pack, unpack
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, decode_kind, probe_digest
from govraft.errors import DecodeError, InputError

LIMIT = 1 << 20


def test_each_message_comes_back_as_it_went(world):
    probe = world.probe(3, grants={"b": world.nonce(1)})
    ack = world.ack("b", probe, outstanding=("c",))
    lease = world.lease(probe, [ack])
    for signed, body in ((probe, Probe), (ack, Ack), (lease, Lease)):
        again = Signed.decode(signed.encode(), signed.kind)
        assert again == signed
        assert decode_kind(signed.encode()) is signed.kind
        assert body.decode(again.body).encode() == again.body


def test_a_signature_is_bound_to_kind_and_cluster(world):
    probe = world.probe()
    message = probe.message(world.cluster)
    assert message != msgspec.structs.replace(probe, kind=Kind.ACK).message(world.cluster)
    assert message != probe.message(bytes(31) + b"\1")
    assert probe.body in message


def test_a_probe_is_named_by_its_exact_bytes(world):
    names = {
        probe_digest(world.probe()),
        probe_digest(world.probe(grants={"b": world.nonce(1)})),
        probe_digest(world.probe(round=2)),
        probe_digest(world.probe(leader="a", signer="b")),
    }
    assert len(names) == 4


def test_one_kind_does_not_pass_as_another(world):
    with pytest.raises(DecodeError, match="expected a ack"):
        Signed.decode(world.probe().encode(), Kind.ACK)
    with pytest.raises(DecodeError, match="unknown message kind"):
        decode_kind(pack({"b": b"", "g": bytes(64), "k": "vote", "s": "a"}))


def changed(body: bytes, **fields: object) -> bytes:
    return pack({**unpack(body, max_bytes=LIMIT), **fields})


PROBE_DEFECTS = [
    {"epoch": -1},
    {"term": -1},
    {"round": 2**63},
    {"term": "1"},
    {"term": True},
    {"grants": {"b": b"short"}},
    {"grants": {"b": 1}},
    {"grants": {f"n{n}": bytes(16) for n in range(74)}},
    {"grants": []},
    {"sections": {"policies": bytes(31)}},
    {"sections": {f"s{n}": bytes(32) for n in range(33)}},
    {"checkpoint": b"x\n1\n"},
    {"leader": b"a"},
    {"extra": 1},
]
ACK_DEFECTS = [
    {"nonce": bytes(15)},
    {"probe": bytes(31)},
    {"root": bytes(33)},
    {"cosignature": bytes(63)},
    {"seq": -1},
    {"time_s": 2**63},
    {"outstanding": ["b", 1]},
    {"outstanding": ["b" * 64]},
    {"outstanding": ["b\nc"]},
    {"outstanding": [""]},
    {"outstanding": [f"n{n}" for n in range(74)]},
    {"outstanding": "b"},
    {"node": 1},
    {"extra": 1},
]
LEASE_DEFECTS = [{"acks": [1]}, {"acks": [b""] * 74}, {"acks": [b"x"]}, {"probe": b"x"}, {"note": "x"}, {"extra": 1}]


@pytest.mark.parametrize("defect", PROBE_DEFECTS, ids=str)
def test_a_malformed_probe_is_refused(world, defect):
    with pytest.raises(DecodeError):
        Probe.decode(changed(world.probe().body, **defect))


@pytest.mark.parametrize("defect", ACK_DEFECTS, ids=str)
def test_a_malformed_ack_is_refused(world, defect):
    with pytest.raises(DecodeError):
        Ack.decode(changed(world.ack("b", world.probe()).body, **defect))


@pytest.mark.parametrize("defect", LEASE_DEFECTS, ids=str)
def test_a_malformed_lease_is_refused(world, defect):
    with pytest.raises(DecodeError):
        Lease.decode(changed(world.lease(world.probe(), []).body, **defect))


@pytest.mark.parametrize("defect", [{"g": bytes(63)}, {"s": b"a"}, {"k": 1}, {"b": "x"}, {"extra": 1}], ids=str)
def test_a_malformed_envelope_is_refused(world, defect):
    with pytest.raises(DecodeError):
        Signed.decode(changed(world.probe().encode(), **defect), Kind.PROBE)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_refused_with_an_input_error(data):
    for decode in (Probe.decode, Ack.decode, Lease.decode, decode_kind):
        with pytest.raises(InputError):
            decode(data)


def test_more_than_a_frame_is_refused():
    with pytest.raises(InputError):
        decode_kind(b"\xc6" + bytes(LIMIT + 10))


def test_a_probe_of_an_earlier_version_reads_and_writes_as_ever(world):
    body = world.probe(wall=None).body
    probe = Probe.decode(body)
    assert (probe.wall, probe.more) == (None, {})
    assert probe.encode() == body
    assert b"wall" not in body
    assert "wall clock" in probe.foreign


def test_a_probe_says_the_wall_clock_and_whatever_is_added(world):
    more = {"b": [1, {"k": b"x"}], "a": None}
    probe = Probe.decode(world.probe(more=more, grants={"b": bytes(16), "c": bytes(32)}).body)
    assert (probe.wall, probe.more) == (world.wall, more)
    assert probe.grants["c"] == bytes(32)
    assert "`a`" in probe.foreign
    assert "relay" in Probe.decode(world.probe(grants={"c": bytes(32)}).body).foreign
    assert Probe.decode(world.probe(grants={"c": bytes(16)}).body).foreign == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"wall": None},
        {"more": None},
        {"wall": -1},
        {"wall": 2**63},
        {"wall": "1"},
        {"wall": True},
        {"more": []},
        {"more": {}, "other": 1},
        {"grants": {"c": bytes(31)}},
        {"grants": {"c": bytes(0)}},
    ],
)
def test_half_a_format_is_none(world, fields):
    body = unpack(world.probe().body, max_bytes=10_000)
    for name, value in fields.items():
        body[name] = value
        if value is None:
            del body[name]
    with pytest.raises(DecodeError):
        Probe.decode(pack(body))


def test_a_relayed_nonce_belongs_to_the_later_format(world):
    body = unpack(world.probe(wall=None).body, max_bytes=10_000) | {"grants": {"c": bytes(32)}}
    with pytest.raises(DecodeError):
        Probe.decode(pack(body))
