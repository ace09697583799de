"""`permit.redeem`: accept, each rejection with its own code, boundaries."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from govraft.core.codec.envelope import pae, seal
from govraft.core.evidence.statements import DENIAL_TYPE, PermitStatement
from govraft.core.machine import permits
from govraft.core.machine.permit_view import PERMIT_PREFIX
from govraft.core.model.commands import (
    EntityFields,
    EntityPut,
    PermitRedeem,
    Quarantine,
    Revoke,
    TargetKind,
    encode_command,
    payload_type,
)
from govraft.testing.evidence_sample import SAMPLE_REQUEST, EvidenceSample
from govraft.testing.sample import CREATED, SampleCluster

AT = CREATED + 101_000


class World(EvidenceSample):
    """Redeems permits on node n3, at `AT`."""

    def permit_of(self, **changes: Any) -> PermitStatement:
        return self.permit_statement(**({"single_use": True, "seq": 6} | changes))

    def redeem(
        self, envelope: bytes | str, *, node: str = "n3", signer: str | None = None, time: int = AT, **header: Any
    ) -> str:
        text = envelope if isinstance(envelope, str) else base64.b64encode(envelope).decode()
        command = PermitRedeem(**(self.sample.header() | header), node=node, permit=text)
        return self.submit(command, signer or node, time)

    def submit(self, command: PermitRedeem, signer: str, time: int = AT) -> str:
        kind, payload = payload_type(command), encode_command(command)
        signature = self.sign(signer, pae(kind, payload))
        return self.apply_envelope(seal(kind, payload, [(self.public_key(signer), signature)]), time=time).outcome.code

    def use(self, statement: PermitStatement, **options: Any) -> str:
        return self.redeem(self.permit_envelope(statement), **options)

    @property
    def remembered(self) -> list[str]:
        keys = self.machine.records("audit")
        return sorted(key.removeprefix(PERMIT_PREFIX) for key in keys if key.startswith(PERMIT_PREFIX))


@pytest.fixture
def world() -> World:
    return World()


def test_a_permit_works_once(world) -> None:
    statement = world.permit_of()
    assert world.use(statement) == "applied"
    assert world.remembered == [statement.permit]
    assert world.use(statement) == "permit_used"
    assert world.use(statement, node="n1") == "permit_used"
    # Sealed by others, it is the same permit.
    assert world.redeem(world.permit_envelope(statement, nodes=("n2", "n3"))) == "permit_used"
    assert world.use(world.permit_of(decision="n1-0-2")) == "applied"


def test_the_record_says_who_and_when(world) -> None:
    statement = world.permit_of()
    world.use(statement)
    used = world.machine._state.audit.permits.used[statement.permit]
    assert (used.node, used.seq, used.time, used.not_after) == ("n3", 7, AT, statement.not_after)


TABLE = {
    "no base64 at all": (lambda w: w.redeem("A*=="), "payload_malformed"),
    "base64 cut short": (lambda w: w.redeem("AAAAA"), "evidence_invalid"),
    "stray bits": (lambda w: w.redeem("AB=="), "evidence_invalid"),
    "junk": (lambda w: w.redeem(b"{}"), "evidence_invalid"),
    "a denial": (lambda w: w.redeem(w.seal(DENIAL_TYPE, w.permit_of(), ("n1", "n2"))), "evidence_invalid"),
    "too few": (lambda w: w.redeem(w.permit_envelope(w.permit_of(), nodes=("n1",))), "evidence_invalid"),
    "another cluster": (lambda w: w.use(w.permit_of(cluster="0" * 64)), "evidence_invalid"),
    "an epoch to come": (lambda w: w.use(w.permit_of(epoch=2)), "permit_void"),
    "not for a single use": (lambda w: w.use(w.permit_of(single_use=False)), "permit_void"),
    "a seq to come": (lambda w: w.use(w.permit_of(seq=7)), "permit_void"),
    "signed by another node": (lambda w: w.use(w.permit_of(), signer="n2"), "threshold_unmet"),
    "no member": (lambda w: w.use(w.permit_of(), node="n9", signer="n2"), "threshold_unmet"),
    "an audience is no matter here": (lambda w: w.use(w.permit_of(audience="x")), "applied"),
    "not yet issued": (lambda w: w.use(w.permit_of(), time=CREATED + 50_000), "applied"),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(world, name: str) -> None:
    attempt, expected = TABLE[name]
    assert attempt(world) == expected
    assert len(world.remembered) == (expected == "applied")


def test_a_permit_that_has_run_out_is_void(world) -> None:
    statement = world.permit_of()
    header = {"not_after": statement.not_after + 60_000}
    assert world.use(statement, time=statement.not_after, **header) == "permit_void"
    world = World()
    assert world.use(statement, time=statement.not_after - 1, **header) == "applied"
    assert world.use(statement, time=statement.not_after, **header) == "permit_void"


def test_a_permit_of_a_former_electorate_is_void(world) -> None:
    envelope = world.permit_envelope(world.permit_of())
    world.add_observer("n4")
    assert world.redeem(envelope) == "permit_void"


def test_what_was_stopped_since_voids_it(world) -> None:
    for kind, target in (
        (TargetKind.SUBJECT, SAMPLE_REQUEST.principal),
        (TargetKind.RESOURCE, SAMPLE_REQUEST.resource),
        (TargetKind.ACTION, SAMPLE_REQUEST.action),
    ):
        for command in (Quarantine, Revoke):
            world = World()
            world.apply(command(**world.sample.header(), kind=kind, id=target, reason="x"), "olga")
            assert world.use(world.permit_of()) == "permit_void"


def test_a_group_that_was_stopped_since_voids_it(world) -> None:
    fields = EntityFields(uid=SAMPLE_REQUEST.principal, attrs={}, parents=('Group::"bots"',))
    world.apply(EntityPut(**world.sample.header(), entities=(fields,)), "olga")
    world.apply(Revoke(**world.sample.header(), kind=TargetKind.SUBJECT, id='Group::"bots"', reason="x"), "olga")
    assert world.use(world.permit_of()) == "permit_void"


def test_permits_are_forgotten_once_they_are_void_anyway(world) -> None:
    statements = [world.permit_of(decision=f"n1-0-{number}", not_after=CREATED + 110_000) for number in range(10)]
    assert {world.use(statement) for statement in statements} == {"applied"}
    late = world.permit_of(decision="n1-1-1")
    assert world.use(late, time=CREATED + 110_000) == "applied"
    assert len(world.remembered) == 3
    assert world.use(world.permit_of(decision="n1-1-2"), time=CREATED + 110_000) == "applied"
    assert len(world.remembered) == 2
    assert all(world.use(item, time=CREATED + 110_000) == "permit_void" for item in statements)


def test_only_so_many_are_remembered(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permits.limits, "PERMITS_REDEEMED", 2)
    outcomes = [world.use(world.permit_of(decision=f"n1-0-{number}")) for number in range(3)]
    assert outcomes == ["applied", "applied", "limit_exceeded"]


def test_examining_changes_nothing(world) -> None:
    statement = world.permit_of()
    command = PermitRedeem(
        **world.sample.header(), node="n3", permit=base64.b64encode(world.permit_envelope(statement)).decode()
    )
    kind, payload = payload_type(command), encode_command(command)
    envelope = seal(kind, payload, [(world.public_key("n3"), world.sign("n3", pae(kind, payload)))])
    for _ in range(3):
        assert not hasattr(world.machine.examine(envelope, AT), "reason")
    assert world.remembered == []


def test_a_restored_machine_remembers(world) -> None:
    from govraft.core.machine.machine import Machine

    statement = world.permit_of()
    world.use(statement)
    restored = Machine.restored(
        world.sample.genesis,
        time=world.machine.time,
        records=world.machine.copy_records(),
        lineage=world.machine.lineage.copy(),
        recent=world.leaves,
    )
    world.machine = restored
    assert world.use(statement) == "permit_used"


def test_observers_sign_no_permit() -> None:
    world = World(SampleCluster(voters=3, observers=2))
    envelope = world.permit_envelope(world.permit_of(), nodes=("n1", "n2", "n4"))
    assert world.redeem(envelope) == "evidence_invalid"
    assert world.redeem(world.permit_envelope(world.permit_of()), node="n4") == "applied"
