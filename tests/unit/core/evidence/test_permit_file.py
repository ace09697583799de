"""What a permit file proves, and that nothing of it can be changed."""

from __future__ import annotations

import json

import msgspec
import pytest

from govraft.core.codec.envelope import decode_envelope, encode_envelope
from govraft.core.codec.note import Note, NoteSignature, format_note, parse_note
from govraft.core.convergence.certificate import key_name
from govraft.core.evidence.permit_file import envelope_in, prove_permit
from govraft.core.evidence.statements import DENIAL_TYPE
from govraft.core.lineage.leaf import Leaf
from govraft.core.model.limits import PERMIT_MS
from govraft.core.model.request import Request
from govraft.errors import ExpiredError, GovraftError, VerificationError
from govraft.testing.evidence_sample import SAMPLE_REQUEST, EvidenceSample
from govraft.testing.sample import CREATED, SampleCluster

NOW = CREATED + 101_000


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


def prove(world: EvidenceSample, data: bytes, at: int = NOW, **options):
    return prove_permit(data, world.sample.genesis, at=at, **options)


def refused(world: EvidenceSample, data: bytes, **options) -> str:
    with pytest.raises(VerificationError) as caught:
        prove(world, data, **options)
    return caught.value.code


def test_a_permit_of_a_quorum_is_proven(world) -> None:
    proven = prove(world, world.permit(), request=SAMPLE_REQUEST)
    assert (proven.voters, proven.statement) == (("n1", "n2"), world.permit_statement())
    assert proven.leaf == Leaf.decode(world.leaves[-1])
    assert prove(world, world.permit(nodes=("n1", "n2", "n3"))).voters == ("n1", "n2", "n3")


def test_any_changed_byte_fails(world) -> None:
    data = world.permit(world.permit_statement(single_use=True, audience="gateway"))
    prove(world, data, audience="gateway")
    survivors = []
    for place in range(len(data)):
        for change in (data[place] ^ 1, data[place] ^ 0x20, ord("A") if data[place] != ord("A") else ord("B")):
            changed = data[:place] + bytes([change]) + data[place + 1 :]
            try:
                prove(world, changed, audience="gateway")
            except VerificationError:
                continue
            survivors.append((place, change))
    assert survivors == []


def test_an_added_or_removed_byte_fails(world) -> None:
    data = world.permit()
    for place in range(0, len(data), 7):
        assert refused(world, data[:place] + data[place + 1 :])
        assert refused(world, data[:place] + b" " + data[place:])


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 9_000, b'{"format":"govraft.permit.v1"}', b"1"])
def test_junk_is_malformed(world, data: bytes) -> None:
    assert refused(world, data) == "evidence_malformed"


def test_less_than_a_quorum_is_no_permit(world) -> None:
    assert refused(world, world.permit(nodes=("n1",))) == "threshold_unmet"
    assert refused(world, world.permit(nodes=())) == "threshold_unmet"


def test_every_signature_must_be_a_voters(world) -> None:
    observed = EvidenceSample(SampleCluster(voters=3, observers=1))
    assert refused(observed, observed.permit(nodes=("n1", "n2", "n4"))) == "signature_invalid"
    envelope = decode_envelope(world.permit_envelope())
    first, second = envelope.signatures
    twice = msgspec.structs.replace(envelope, signatures=(first, first))
    swapped = msgspec.structs.replace(envelope, signatures=(second, first))
    spoiled = msgspec.structs.replace(
        envelope, signatures=(first, second, msgspec.structs.replace(second, key_id="f" * 64))
    )
    for forged in (twice, swapped, spoiled):
        assert refused(world, world.permit(envelope=encode_envelope(forged))) == "signature_invalid"
    lying = msgspec.structs.replace(envelope, signatures=(first, msgspec.structs.replace(second, signature=bytes(64))))
    assert refused(world, world.permit(envelope=encode_envelope(lying))) == "signature_invalid"


def test_a_permit_holds_from_issued_until_not_after(world) -> None:
    statement, data = world.permit_statement(), world.permit()
    skew = world.sample.genesis.clock_skew_max_ms
    prove(world, data, statement.issued - skew)
    prove(world, data, statement.not_after - 1)
    for at, code in ((statement.issued - skew - 1, "not_yet_valid"), (statement.not_after, "expired")):
        with pytest.raises(ExpiredError) as caught:
            prove(world, data, at)
        assert caught.value.code == code


def test_no_quorum_can_sign_a_long_life(world) -> None:
    statement = world.permit_statement(not_after=CREATED + 100_000 + PERMIT_MS + 1)
    assert refused(world, world.permit(statement)) == "evidence_malformed"
    prove(world, world.permit(world.permit_statement(not_after=CREATED + 100_000 + PERMIT_MS)))


@pytest.mark.parametrize(
    "request_",
    [
        Request('Agent::"other"', SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource, SAMPLE_REQUEST.context),
        Request(SAMPLE_REQUEST.principal, SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource, {"env": "prod"}),
        Request(SAMPLE_REQUEST.principal, SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource, {"env": 1.5}),
        Request("nobody", SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource, SAMPLE_REQUEST.context),
    ],
)
def test_a_permit_is_for_one_request(world, request_: Request) -> None:
    assert refused(world, world.permit(), request=request_) == "request_mismatch"


def test_another_spelling_is_the_same_request(world) -> None:
    spelled = Request(
        'Agent::"ci\\x2dbot"', SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource, {"replicas": 3, "env": "prod"}
    )
    prove(world, world.permit(), request=spelled)


def test_a_permit_for_an_audience_is_void_for_others(world) -> None:
    data = world.permit(world.permit_statement(audience="gateway-7"))
    prove(world, data, audience="gateway-7")
    assert refused(world, data) == "audience_mismatch"
    assert refused(world, data, audience="gateway-8") == "audience_mismatch"
    prove(world, world.permit(), audience="gateway-7")


def test_a_permit_on_an_older_state_than_known_is_void(world) -> None:
    prove(world, world.permit(), at_least=6)
    assert refused(world, world.permit(), at_least=7) == "superseded"


def test_another_cluster_is_refused(world) -> None:
    other = EvidenceSample(SampleCluster(name="other"))
    assert refused(world, other.permit()) == "wrong_cluster"


def test_an_epoch_that_nothing_leads_to_is_refused(world) -> None:
    assert refused(world, world.permit(world.permit_statement(epoch=2))) == "epoch_unknown"


def test_a_leaf_of_another_state_is_refused(world) -> None:
    statement = world.permit_statement(state_root="0" * 64)
    assert refused(world, world.permit(statement)) == "lineage_inconsistent"
    forged = msgspec.structs.replace(Leaf.decode(world.leaves[-1]), state_root=bytes(32)).encode()
    assert refused(world, world.permit(statement, leaf=forged)) == "lineage_inconsistent"
    older = world.permit(leaf=world.leaves[4], proof=world.machine.lineage.inclusion_proof(4, 6))
    assert refused(world, older) == "lineage_inconsistent"


@pytest.mark.parametrize("seq", [5, 7])
def test_the_certificate_is_for_exactly_that_seq(world, seq: int) -> None:
    root = world.machine.lineage.root(min(seq, 6))
    assert refused(world, world.permit(certificate=world.certificate(seq, root=root))) == "lineage_inconsistent"


def test_a_certificate_of_less_than_a_quorum_or_more_than_voters_is_refused(world) -> None:
    assert refused(world, world.permit(certificate=world.certificate(nodes=("n1",)))) == "certificate_invalid"
    note = parse_note(world.certificate())
    stranger = NoteSignature(key_name(world.sample.genesis.origin, "n9"), b"\x01\x02\x03\x04", 1, bytes(64))
    padded = format_note(msgspec.structs.replace(note, signatures=(*note.signatures, stranger)))
    assert refused(world, world.permit(certificate=padded)) == "certificate_invalid"


def test_a_denial_is_no_permit(world) -> None:
    envelope = world.seal(DENIAL_TYPE, world.permit_statement(), ("n1", "n2"))
    assert refused(world, world.permit(envelope=envelope)) == "evidence_malformed"
    assert refused(world, world.denial()) == "evidence_malformed"


def test_the_envelope_can_be_taken_out(world) -> None:
    assert envelope_in(world.permit()) == world.permit_envelope()
    with pytest.raises(VerificationError):
        envelope_in(b"{}")


def test_fields_are_typed(world) -> None:
    fields = json.loads(world.permit())
    for name in fields:
        for value in (7, None, "é", [1], {}):
            changed = json.dumps(fields | {name: value}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
            with pytest.raises(GovraftError) as caught:
                prove(world, changed.encode())
            assert isinstance(caught.value, VerificationError)


def test_a_stale_certificate_is_refused(world) -> None:
    """Made within a day of the issue, before or after, by a quorum; only that of a change is made once."""
    issued = world.permit_statement().issued
    day = 86_400

    def file(*times: int, of: EvidenceSample = world) -> bytes:
        body = of.checkpoint().encode()
        lines = [of.cosignature(node, body, time_s=time) for node, time in zip(("n1", "n2", "n3"), times)]
        return of.permit(certificate=format_note(Note(body, tuple(lines))))

    base = issued // 1000
    prove(world, file(base - day, base + day))
    prove(world, file(base, base, base - 9 * day))
    for times in ((base - day - 1, base), (base, base + day + 1), (base, base - 9 * day, base - 9 * day)):
        assert refused(world, file(*times)) == "stale_certificate"
    changed = EvidenceSample()
    changed.add_observer("n4")
    prove(changed, file(base - 9 * day, base - 9 * day, of=changed))
    first = EvidenceSample(quarantined=())
    assert refused(first, file(base - 9 * day, base - 9 * day, of=first)) == "stale_certificate"
