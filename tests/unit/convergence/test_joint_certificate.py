import msgspec
import pytest
from unit.convergence.joint import Joint

from govraft.core.codec.note import Note, format_note
from govraft.core.convergence.certificate import WRONG_EPOCH, count_quorum, lease_note, open_ack, open_signed
from govraft.core.convergence.certificate import verify_cosignature as verify_cosig
from govraft.core.convergence.messages import Kind, Lease, Probe, Signed
from govraft.core.model.electorate import QuorumRule
from govraft.errors import CertificateError, DecodeError, InvariantViolation

# Which keys make a quorum of both.


@pytest.mark.parametrize(
    ("old", "new", "signers", "enough"),
    [
        ("a", "a b", "a", False),
        ("a", "a b", "b", False),
        ("a", "a b", "a b", True),
        ("a b", "a", "a", False),
        ("a b", "a", "a b", True),
        ("a b c", "a b c d", "a b", False),
        ("a b c", "a b c d", "a b d", True),
        ("a b c", "a b c d", "a b c", True),
        ("a b c", "a b c d", "b d", False),
        ("a b c d", "a b c", "a b", False),
        ("a b c d", "a b c", "a c d", True),
        ("a b c d", "a b c", "a d", False),
        ("a b c", "a b / c", "a c", False),
        ("a b c", "a b / c", "a b", True),
        ("a b c", "x y z", "a b x", False),
        ("a b c", "x y z", "a x y", False),
        ("a b c", "x y z", "a b x y", True),
        ("a b c", "a b' c", "a b", False),
        ("a b c", "a b' c", "a b'", False),
        ("a b c", "a b' c", "a b b'", True),
        ("a b c", "a b' c", "b b' c", True),
        ("a b c", "a b' c", "a c", True),
    ],
)
def test_a_quorum_of_each_is_needed(old, new, signers, enough):
    world = Joint(old, new)
    if enough:
        assert world.certify(world.note_of(signers)) == world.checkpoint(5)
        assert world.judge(world.lease_of(signers, signer=signers.split()[0])).note == world.note_of(signers)
        return
    with pytest.raises(CertificateError, match=" of .* cosignatures"):
        world.certify(world.note_of(signers))
    # Here the note is good: the acks alone must be found wanting.
    everybody = " ".join(sorted({*old.replace("/", "").split(), *new.replace("/", "").split()}))
    with pytest.raises(CertificateError, match=" of .* voters"):
        world.judge(world.lease_of(signers, note=everybody, signer=signers.split()[0]))


def test_a_rotated_voter_is_two():
    world = Joint("a b c", "a b' c")
    assert count_quorum({("b", world.key("b")), ("b", world.key("b'"))}, world.both) == (1, 2)
    assert count_quorum({("b", world.key("b'")), ("c", world.key("c"))}, world.both) == (1, 2)
    assert count_quorum({("b", world.key("b'")), ("c", world.key("c"))}, world.new) is None


def test_a_key_counts_under_its_own_id_only():
    world = Joint("a b c", "a b c")
    swapped = {("a", world.key("b")), ("b", world.key("a"))}
    assert count_quorum(swapped, world.both) == (0, 2)


@pytest.mark.parametrize("rule", list(QuorumRule))
def test_one_electorate_is_judged_as_ever(rule):
    world = Joint("a b c d", "a b c d e", rule)
    assert world.certify(world.note_of("a b c"), world.old) == world.certify(world.note_of("a b c"), (world.old,))


def test_nobody_is_convinced_by_no_electorate():
    with pytest.raises(InvariantViolation, match="no electorate"):
        count_quorum(set(), ())


# The note.


@pytest.mark.parametrize("name", ["a", "b", "b'", "d"])
def test_a_bad_signature_of_either_electorates_key_rejects_the_note(name):
    world = Joint("a b c", "a b' c d")
    checkpoint = world.checkpoint(5)
    bad = msgspec.structs.replace(world.line(name, checkpoint), signature=bytes(64))
    others = [world.line(item, checkpoint) for item in ("a", "b", "c", "b'", "d") if item != name]
    with pytest.raises(CertificateError, match="invalid cosignature"):
        world.certify(format_note(Note(checkpoint.encode(), (*others, bad))))


# The lease.


def test_a_joint_lease_is_of_the_later_epoch():
    world = Joint("a b c", "a b c d")
    lease = world.lease_of("a b c d")
    assert world.judge(lease).voters == {"a", "b", "c", "d"}
    with pytest.raises(CertificateError, match="of epoch 2") as caught:
        world.judge(lease, (world.new, world.old))
    assert caught.value.code == WRONG_EPOCH


def test_the_note_must_convince_both_too():
    world = Joint("a b c", "x y z")
    with pytest.raises(CertificateError, match="1 of 2 cosignatures"):
        world.judge(world.lease_of("a b x y", note="a b x"))


def test_a_removed_leader_may_send_the_joint_lease_and_nothing_after():
    world = Joint("a b c", "b c")
    lease = world.lease_of("a b c")
    world.judge(lease)
    with pytest.raises(CertificateError, match="who is no member"):
        world.judge(lease, world.new)


def test_lease_and_probe_are_of_one_key():
    world = Joint("a b c", "a' b c")
    probe = world.probe(leader="a")
    acks = tuple(world.ack(name, probe) for name in ("a", "a'", "b", "c"))
    lease = Lease(probe, acks, world.note_of("a b c a'"))
    world.judge(world.sign(Kind.LEASE, lease.encode(), "a"))
    with pytest.raises(CertificateError, match="not of one node"):
        world.judge(world.sign(Kind.LEASE, lease.encode(), "a'"))


def test_a_silent_holder_that_is_being_removed_forbids_the_lease():
    world = Joint("a b c d", "a b c")
    with pytest.raises(CertificateError, match="holders d may still"):
        world.judge(world.lease_of("a b c", b=("d",)))
    world.judge(world.lease_of("a b c d", b=("d",)))
    world.judge(world.lease_of("a b c", b=("d",), others="d"))


def test_a_rotated_holder_moves_on_under_its_old_key():
    world = Joint("a b c d", "a b c d'")
    with pytest.raises(CertificateError, match="holders d may still"):
        world.judge(world.lease_of("a b c d'", b=("d",)))
    world.judge(world.lease_of("a b c d", b=("d",)))


def test_after_the_change_the_new_key_moves_on():
    world = Joint("a b c d", "a b c d'")
    world.judge(world.lease_of("a b c d'", b=("d",)), world.new)


def test_a_new_members_ack_does_not_move_another_on():
    world = Joint("a b c d", "a b c d x")
    with pytest.raises(CertificateError, match="holders d may still"):
        world.judge(world.lease_of("a b c x", b=("d",)))


def test_observers_carry_nothing():
    world = Joint("a b / o", "a b / o p")
    with pytest.raises(CertificateError, match="1 of 2 voters"):
        world.judge(world.lease_of("a o p", note="a b"))


# Single messages.


def test_each_key_of_an_id_is_told_apart():
    world = Joint("a b c", "a b' c")
    for name in ("b", "b'"):
        member = open_signed(world.probe(leader=name), world.both, world.cluster, world.is_valid)
        assert (member.id, member.public_key) == ("b", world.key(name))
    with pytest.raises(CertificateError, match="invalid signature"):
        open_signed(world.probe(leader="b''"), world.both, world.cluster, world.is_valid)
    with pytest.raises(CertificateError, match="invalid signature"):
        open_signed(world.probe(leader="b"), world.new, world.cluster, world.is_valid)


def test_one_key_may_not_cosign_for_another_of_its_id():
    world = Joint("a b c", "a b' c")
    probe = world.probe()
    mixed = world.ack("b", probe, cosignature=world.cosignature("b'", world.checkpoint(5)))
    member, ack = open_ack(mixed, world.both, world.cluster, world.is_valid)
    with pytest.raises(CertificateError, match="invalid cosignature"):
        verify_cosig(ack, member, world.origin, is_valid=world.is_valid)


def test_the_note_of_a_lease_can_be_taken_out():
    world = Joint("a", "a b")
    lease = world.lease_of("a b")
    assert lease_note(lease.encode()) == world.note_of("a b")
    for data in (b"", world.probe().encode(), Signed(Kind.LEASE, "a", bytes(64), b"").encode()):
        with pytest.raises(DecodeError):
            lease_note(data)
    assert Probe.decode(world.probe().body).epoch == 2
