import msgspec
import pytest

from govraft.core.codec.note import Note, NoteSignature, format_note
from govraft.core.convergence.certificate import open_ack, open_signed, verify_certificate, verify_cosignature
from govraft.core.convergence.messages import Ack, Kind, Lease, Signed
from govraft.core.model.electorate import QuorumRule
from govraft.errors import CertificateError


def certify(world, text: bytes):
    return verify_certificate(text, world.electorate, world.origin, is_valid=world.is_valid)


# The certificate.


def test_a_quorum_proves_the_checkpoint(world):
    assert certify(world, world.note(5, "ab")) == world.checkpoint(5)
    assert certify(world, world.note(5, "abc")) == world.checkpoint(5)


@pytest.mark.clause("7 no quorum bypass")
@pytest.mark.parametrize(
    ("voters", "rule", "enough"),
    [
        ("abcd", QuorumRule.BYZANTINE, 3),
        ("abcd", QuorumRule.MAJORITY, 3),
        ("abcde", QuorumRule.MAJORITY, 3),
        ("abcdefg", QuorumRule.BYZANTINE, 5),
    ],
)
def test_one_fewer_than_a_quorum_proves_nothing(make_world, voters, rule, enough):
    world = make_world(voters, rule=rule)
    certify(world, world.note(5, voters[:enough]))
    with pytest.raises(CertificateError, match=f"{enough - 1} of {enough}"):
        certify(world, world.note(5, voters[: enough - 1]))


def test_one_voter_signing_twice_is_one_voter(world):
    checkpoint = world.checkpoint(5)
    lines = (world.line("a", checkpoint, 7), world.line("a", checkpoint, 8))
    with pytest.raises(CertificateError, match="1 of 2"):
        certify(world, format_note(Note(checkpoint.encode(), lines)))


def test_two_members_with_one_key_are_one_voter(world):
    a, b, c = world.electorate.members
    electorate = msgspec.structs.replace(
        world.electorate, members=(a, msgspec.structs.replace(b, public_key=a.public_key), c)
    )
    world.electorate = electorate
    with pytest.raises(CertificateError, match="1 of 2"):
        certify(world, world.note(5, "ab"))


def test_observers_and_strangers_count_for_nothing(make_world):
    world = make_world("abc", observers="o")
    with pytest.raises(CertificateError, match="1 of 2"):
        certify(world, world.note(5, "ao"))
    with pytest.raises(CertificateError, match="1 of 2"):
        certify(world, world.note(5, "ax"))
    certify(world, world.note(5, "axob"))


def test_a_known_key_with_a_bad_signature_rejects_the_note(world):
    checkpoint = world.checkpoint(5)
    bad = msgspec.structs.replace(world.line("c", checkpoint), signature=bytes(64))
    lines = (world.line("a", checkpoint), world.line("b", checkpoint), bad)
    with pytest.raises(CertificateError, match="invalid cosignature of `c`"):
        certify(world, format_note(Note(checkpoint.encode(), lines)))


def test_a_known_key_with_a_signature_of_another_shape_rejects_the_note(world):
    checkpoint = world.checkpoint(5)
    line = world.line("c", checkpoint)
    for signature in (b"", bytes(63), bytes(65)):
        lines = (
            world.line("a", checkpoint),
            world.line("b", checkpoint),
            msgspec.structs.replace(line, signature=signature),
        )
        with pytest.raises(CertificateError, match="malformed cosignature of `c`"):
            certify(world, format_note(Note(checkpoint.encode(), lines)))


def test_another_key_under_a_known_name_is_unknown(world):
    checkpoint = world.checkpoint(5)
    other = NoteSignature(world.line("c", checkpoint).name, b"\0\0\0\0", 7, bytes(64))
    certify(
        world, format_note(Note(checkpoint.encode(), (world.line("a", checkpoint), world.line("b", checkpoint), other)))
    )


def test_a_cosignature_is_of_one_time_and_one_checkpoint(world):
    checkpoint = world.checkpoint(5)
    for wrong in (
        msgspec.structs.replace(world.line("b", checkpoint), time_s=8),
        world.line("b", world.checkpoint(6)),
    ):
        with pytest.raises(CertificateError, match="invalid cosignature of `b`"):
            certify(world, format_note(Note(checkpoint.encode(), (world.line("a", checkpoint), wrong))))


def test_a_certificate_of_another_cluster_is_refused(world):
    text = world.note(5, "ab")
    with pytest.raises(CertificateError, match="not of"):
        verify_certificate(text, world.electorate, "govraft.dev/" + "1" * 64, is_valid=world.is_valid)


@pytest.mark.parametrize("text", [b"", b"x", b"\n\n", b"a\n1\nAAAA\n\n\xe2\x80\x94 x AAAAAAA=\n", b"\xff"])
def test_what_is_no_note_is_no_certificate(world, text):
    with pytest.raises(CertificateError, match="cannot be read"):
        certify(world, text)


# The lease.


@pytest.mark.clause("1 cryptographic governance convergence")
def test_a_whole_lease_holds(world):
    probe = world.probe(5, grants={"c": world.nonce(1)})
    verified = world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe)]))
    assert verified.voters == {"a", "b"}
    assert verified.probe.grants == {"c": world.nonce(1)}
    assert verified.note == world.note(5, "ab")


def test_too_few_acks_are_no_lease(world):
    probe = world.probe(5)
    with pytest.raises(CertificateError, match="1 of 2 voters"):
        world.verify(world.lease(probe, [world.ack("a", probe)]))
    with pytest.raises(CertificateError, match="1 of 2 voters"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("a", probe, nonce=world.nonce(5))]))


def test_acks_of_observers_carry_no_lease(make_world):
    world = make_world("abc", observers="o")
    probe = world.probe(5)
    with pytest.raises(CertificateError, match="1 of 2 voters"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("o", probe)]))


def test_acks_of_another_probe_do_not_carry_the_lease(world):
    """A leader that shows each voter another probe, with other grants, must not make one lease of their acks."""
    shown_to_a, shown_to_b = world.probe(5, grants={"c": world.nonce(1)}), world.probe(5, grants={})
    for probe in (shown_to_a, shown_to_b):
        with pytest.raises(CertificateError, match="1 of 2 voters"):
            world.verify(world.lease(probe, [world.ack("a", shown_to_a), world.ack("b", shown_to_b)]))


def test_a_silent_outstanding_holder_forbids_the_lease(world):
    probe = world.probe(5)
    acks = [world.ack("a", probe), world.ack("b", probe, outstanding=("c",))]
    with pytest.raises(CertificateError, match="holders c may still be serving"):
        world.verify(world.lease(probe, acks))
    behind = world.ack("c", world.probe(4))
    with pytest.raises(CertificateError, match="holders c may still be serving"):
        world.verify(world.lease(probe, [*acks, behind]))


@pytest.mark.parametrize("seq", [5, 6])
def test_a_holder_that_moved_on_permits_the_lease(world, seq):
    probe = world.probe(5)
    acks = [world.ack("a", probe), world.ack("b", probe, outstanding=("c",)), world.ack("c", world.probe(seq, round=9))]
    assert world.verify(world.lease(probe, acks)).voters == {"a", "b"}


def test_a_holders_word_must_be_its_own(world):
    probe = world.probe(5)
    forged = world.ack("c", world.probe(5, round=9), signer="b")
    with pytest.raises(CertificateError, match="`c` is signed by `b`"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe, outstanding=("c",)), forged]))


def test_a_lying_voter_cannot_spoil_the_acks_of_a_quorum(world):
    probe = world.probe(5)
    quorum = [world.ack("a", probe), world.ack("b", probe)]
    for lie in ({"outstanding": ("ghost",)}, {"root": bytes(32)}, {"seq": 9}, {"round": 9}):
        assert world.verify(world.lease(probe, [*quorum, world.ack("c", probe, **lie)])).voters == {"a", "b"}


@pytest.mark.parametrize("lie", [{"root": bytes(32)}, {"seq": 6}, {"round": 9}], ids=str)
def test_an_ack_that_names_the_probe_but_another_state_carries_nothing(world, lie):
    probe = world.probe(5)
    with pytest.raises(CertificateError, match="1 of 2 voters"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe, **lie)]))


def test_lease_probe_and_leader_must_be_of_one_node(world):
    for probe, signer in (
        (world.probe(5), "b"),
        (world.probe(5, leader="b", signer="a"), "a"),
        (world.probe(5, leader="b", signer="b"), "a"),
    ):
        with pytest.raises(CertificateError, match="not of one node"):
            world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe)], signer=signer))


def test_a_lease_of_another_epoch_is_refused(world):
    probe = world.probe(5, epoch=2)
    with pytest.raises(CertificateError, match="epoch 2"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe)]))


def test_the_certificate_must_be_of_the_probes_checkpoint(world):
    probe = world.probe(5)
    acks = [world.ack("a", probe), world.ack("b", probe)]
    with pytest.raises(CertificateError, match="different checkpoints"):
        world.verify(world.lease(probe, acks, note=world.note(4, "ab")))
    with pytest.raises(CertificateError, match="1 of 2 cosignatures"):
        world.verify(world.lease(probe, acks, note=world.note(5, "a")))


def test_every_part_must_carry_its_signature(world):
    probe = world.probe(5)
    acks = [world.ack("a", probe), world.ack("b", probe)]
    good = world.lease(probe, acks)
    spoiled = [
        msgspec.structs.replace(good, signature=bytes(64)),
        world.lease(msgspec.structs.replace(probe, signature=bytes(64)), acks),
        world.lease(probe, [acks[0], msgspec.structs.replace(acks[1], signature=bytes(64))]),
        msgspec.structs.replace(good, signer="stranger"),
    ]
    for lease in spoiled:
        with pytest.raises(CertificateError):
            world.verify(lease)


@pytest.mark.parametrize("place", range(0, 1500, 37))
def test_one_changed_byte_breaks_a_lease(world, place):
    probe = world.probe(5)
    good = world.lease(probe, [world.ack("a", probe), world.ack("b", probe)])
    body = bytearray(good.body)
    body[place % len(body)] ^= 1
    with pytest.raises(CertificateError):
        world.verify(msgspec.structs.replace(good, body=bytes(body)))
    resigned = world.sign(Kind.LEASE, bytes(body), "a")
    with pytest.raises(CertificateError):
        world.verify(resigned)


def test_a_lease_that_does_not_decode_is_a_certificate_error(world):
    with pytest.raises(CertificateError, match="cannot be read"):
        world.verify(world.sign(Kind.LEASE, b"x", "a"))
    lease = Lease(world.sign(Kind.PROBE, b"x", "a"), (), b"")
    with pytest.raises(CertificateError, match="cannot be read"):
        world.verify(world.sign(Kind.LEASE, lease.encode(), "a"))


# Single messages.


@pytest.mark.clause("8 cryptographic member verification")
def test_only_members_are_heard(world):
    member = open_signed(world.probe(), world.electorate, world.cluster, world.is_valid)
    assert member.id == "a"
    with pytest.raises(CertificateError, match="no member"):
        open_signed(world.probe(leader="x"), world.electorate, world.cluster, world.is_valid)
    with pytest.raises(CertificateError, match="invalid signature"):
        open_signed(world.probe(), world.electorate, bytes(31) + b"\1", world.is_valid)


def test_a_cosignature_must_be_over_the_acks_own_checkpoint(world):
    def verify(signed: Signed) -> None:
        member, ack = open_ack(signed, world.electorate, world.cluster, world.is_valid)
        verify_cosignature(ack, member, world.origin, is_valid=world.is_valid)

    probe = world.probe(5)
    verify(world.ack("b", probe))
    honest = world.cosignature("b", world.checkpoint(5))
    for lie in ({"cosignature": bytes(64)}, {"seq": 6}, {"root": bytes(32)}, {"time_s": 8}):
        with pytest.raises(CertificateError, match="invalid cosignature"):
            verify(world.ack("b", probe, **({"cosignature": honest} | lie)))


def test_the_author_is_verified_before_the_body_is_read(world):
    garbage = world.sign(Kind.ACK, b"garbage", "b")
    with pytest.raises(CertificateError):
        open_ack(msgspec.structs.replace(garbage, signature=bytes(64)), world.electorate, world.cluster, world.is_valid)
    assert Ack.decode(world.ack("b", world.probe()).body).node == "b"


@pytest.mark.parametrize("place", [1, 2])
def test_an_ack_without_its_cosignature_makes_no_lease(world, place):
    """Its time would be anybody's: also of a holder that is only there because it moved on."""
    probe = world.probe(5)
    acks = [world.ack("a", probe), world.ack("b", probe, outstanding=("c",)), world.ack("c", probe)]
    assert world.verify(world.lease(probe, acks))
    acks[place] = world.ack("bc"[place - 1], probe, outstanding=("c",) if place == 1 else (), cosignature=bytes(64))
    with pytest.raises(CertificateError, match="invalid cosignature"):
        world.verify(world.lease(probe, acks))


def test_the_cosignature_is_over_the_time_that_the_ack_says(world):
    probe = world.probe(5)
    other = world.cosignature("b", world.checkpoint(5))
    with pytest.raises(CertificateError, match="invalid cosignature"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe, time_s=1, cosignature=other)]))


@pytest.mark.parametrize(("late_s", "is_lease"), [(-(10**9), True), (0, True), (3, True), (4, False), (10**9, False)])
def test_an_ack_dated_long_after_the_probe_makes_no_lease(world, late_s, is_lease):
    probe = world.probe(5)
    lease = world.lease(probe, [world.ack("a", probe), world.ack("b", probe, time_s=world.wall // 1000 + late_s)])
    if is_lease:
        assert world.verify(lease).voters == {"a", "b"}
    else:
        with pytest.raises(CertificateError, match="dated long after"):
            world.verify(lease)


def test_in_evidence_of_earlier_versions_nothing_bounds_the_time(world):
    probe = world.probe(5, wall=None)
    assert world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe, time_s=2**62)]))
