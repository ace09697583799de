"""Properties of what nodes ask each other for: certificates of epochs, and signatures of permits."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

from fuzzing.proof_targets import signed
from fuzzing.target import Target, expect
from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.envelope import pae
from govraft.core.convergence.messages import Epochs, ProvenChange
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.keys import verify
from govraft.core.decision.finding import Finding
from govraft.core.evidence.denial import denial_statement
from govraft.core.evidence.epochs import EpochLink, verify_epochs
from govraft.core.evidence.permit import verify_permit
from govraft.core.evidence.permit_file import envelope_in
from govraft.core.evidence.statements import DENIAL_TYPE, PERMIT_TYPE, PermitStatement, request_digest
from govraft.core.machine.machine import Machine
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import BoottimeNs
from govraft.core.model.verdict import Allow, Deny, Verdict
from govraft.errors import InputError, VerificationError
from govraft.node.authorization import Authorization, Granted
from govraft.node.effects import Effects
from govraft.node.epochs import Epochs as KnownEpochs
from govraft.node.lease_judge import LeaseJudge
from govraft.node.permits import Permits
from govraft.ports.store import HardState, StoredState
from govraft.testing.evidence_sample import SAMPLE_REQUEST
from govraft.testing.sample import CREATED

__all__ = ["TARGETS"]

_NOW = CREATED + 100_000
_EMPTY = StoredState([], HardState(), [], None, None, False)
_TIMING = LeaseTiming(lease_ms=1_000, drift_ppm=10_000, skew_ms=500)
_POLICY = "ab" * 32


def _believe(_public_key: bytes, _signature: bytes, _message: bytes) -> bool:
    return True


def _epochs(data: bytes) -> bool:
    """First as if every signature held, for the rules behind it; then with the real ones."""
    try:
        message = Epochs.decode(data)
    except InputError:
        return False
    expect(message.encode() == data, "encodes again to other bytes")
    taken = 0
    for is_valid in (_believe, verify):
        known = KnownEpochs(genesis=signed().genesis, stored=_EMPTY, is_valid=is_valid, node_id="n2", public_key=b"")
        judge = LeaseJudge(Machine(signed().genesis), known, is_valid)
        taken = 0
        for epoch, change in enumerate(message.changes, message.first):
            if epoch != known.certified.epoch + 1:
                continue
            try:
                seq, electorate, opened = judge.verify_change(epoch, change)
                if judge.contradicts(opened):
                    break
            except (VerificationError, InputError):
                break
            known.certify_proven(seq, electorate, change)
            taken += 1
    proven = verify_epochs(signed().genesis, signed().sample.links).electorates
    for row in known.rows:
        expect(known.history.electorates[row.epoch] == proven.get(row.epoch), "an electorate that nobody certified")
    return taken > 0


@cache
def _changes() -> tuple[ProvenChange, ...]:
    return tuple(_change(link) for link in signed().sample.links)


def _change(link: EpochLink) -> ProvenChange:
    seq = next(at for at, leaf in enumerate(signed().sample.leaves, 1) if leaf == link.leaf)
    lease = signed().sample.lease(seq, nodes=("n1", "n2", "n3"))
    return ProvenChange(lease, pack(dict(link.records)), link.leaf, pack(list(link.proof)))


class _Gate:
    """Allows the sample's request, on the newest state of the sample, and nothing else."""

    allow_expires = None
    allow_is_counted = False
    decided_at = _NOW

    def check(self, request: Request, *, at_least: int = 0) -> Verdict | None:
        machine = signed().machine
        if at_least > machine.seq:
            return None
        root = machine.state_root.hex()
        if request != SAMPLE_REQUEST:
            return Deny(Reason.POLICY_DENIED, "no policy permits it", machine.seq, root, decision="n2-0-1", node="n2")
        return Allow(machine.seq, root, 1 << 62, [_POLICY], "n2-0-2", "n2")

    def deny_waiting(self, _at_least: int) -> Deny:
        return Deny(Reason.SYNCHRONIZING, "the next certificate came too late", node="n2")

    def evaluate(self, request: Request, *, node_id: str, wall: int) -> Finding:
        del node_id, wall
        return Finding(None if request == SAMPLE_REQUEST else Reason.POLICY_DENIED)

    def standing(self, at_least: int = 0) -> Any:
        del at_least
        machine = signed().machine
        note = signed().sample.certificate(nodes=("n1", "n2", "n4"))
        return SimpleNamespace(lease=SimpleNamespace(seq=machine.seq, note=note))


class _Node:
    """What collects and gives signatures of permits at n2, with a clock that stands still."""

    def __init__(self, is_valid: Any) -> None:
        machine = signed().machine
        diagnosis = SimpleNamespace(set=lambda *_: None)
        self.convergence: Any = SimpleNamespace(rejected_messages=0, diagnosis=diagnosis)
        clock: Any = SimpleNamespace(wall=lambda: _NOW, boottime=lambda: BoottimeNs(10**12))
        gate: Any = _Gate()
        self.answers: list[Any] = []
        self.permits = Permits(
            node_id="n2",
            machine=machine,
            convergence=self.convergence,
            gate=gate,
            clock=clock,
            timing=_TIMING,
            public_key=signed().sample.public_key("n2"),
            signing=lambda message: signed().sample.sign("n2", message),
            is_valid=is_valid,
            links=signed().sample.chain,
        )
        self.permits.authorize(Authorization(SAMPLE_REQUEST, ttl_ms=60_000), 1_000, self.answers.append)
        self.began = Effects()
        self.permits.turn(self.began)
        # One more share makes the quorum of three.
        self.permits.on_frame("n1", self.share("n1"), Effects())

    @property
    def asked(self) -> bytes:
        """The frame with which it asks the other voters."""
        return self.began.sends[0].payload

    @property
    def statement(self) -> PermitStatement:
        """What it asks them to sign."""
        return PermitStatement.decode(unpack(self.asked, max_bytes=2**20)["statement"])

    def share(self, node: str) -> bytes:
        """The frame of a voter that signs."""
        message = pae(PERMIT_TYPE, self.statement.encode())
        return pack({"permit": self.statement.permit, "signature": signed().sample.sign(node, message)})


def _permit_frame(data: bytes) -> bool:
    """The first byte says who sends it, and whether every signature is believed."""
    choice = data[0] if data else 0
    node = _Node(_believe if choice & 1 else verify)
    effects = Effects()
    node.permits.on_frame(f"n{choice // 2 % 4 + 1}", data[1:], effects)
    for send in effects.sends:
        answer = unpack(send.payload, max_bytes=2**20)
        if "signature" in answer:
            _expect_own(data[1:], answer)
        else:
            expect(denial_statement(answer["denial"]).node == "n2", "a denial in another name")
    for found in node.answers:
        if isinstance(found, Granted) and not choice & 1:
            electorate = signed().machine.electorate
            proven = verify_permit(envelope_in(found.file), electorate, signed().genesis.cluster_id, is_valid=verify)
            expect(proven.statement == node.statement, "a permit for something else than was asked")
    return node.convergence.rejected_messages == 0


def _expect_own(frame: bytes, answer: dict[str, Any]) -> None:
    """Signed was what this node allows itself, on the state that it holds."""
    statement = PermitStatement.decode(unpack(frame, max_bytes=2**20)["statement"])
    machine = signed().machine
    expect(
        verify(signed().sample.public_key("n2"), answer["signature"], pae(PERMIT_TYPE, statement.encode())), "no share"
    )
    expect(answer["permit"] == statement.permit, "a share of another permit")
    expect((statement.seq, statement.epoch) == (machine.seq, machine.epoch), "a permit on another seq")
    expect(statement.state_root == machine.state_root.hex(), "a permit on another state")
    expect(statement.request_digest == request_digest(SAMPLE_REQUEST), "a permit for what it denies")
    expect(statement.policies == (_POLICY,), "a permit by other policies")
    expect(abs(statement.issued - _NOW) <= _TIMING.skew_ms, "a permit of another time")


def _frames() -> list[bytes]:
    sample, node = signed().sample, _Node(verify)
    statement = node.statement
    denial = sample.denial_statement(node="n3", permit=statement.permit, time=_NOW, reason=Reason.POLICY_DENIED)
    refusal = pack({"denial": sample.seal(DENIAL_TYPE, denial, ["n3"]), "permit": statement.permit})
    shares = [b"\4" + node.share("n3"), b"\5" + node.share("n3"), b"\6" + node.share("n4")]
    return [b"\0" + node.asked, *shares, b"\4" + refusal]


TARGETS = (
    Target(
        "epochs",
        "certificates of epochs: the rules behind the signatures, then with the signatures",
        _epochs,
        lambda: [
            Epochs(2, _changes()).encode(),
            Epochs(2, _changes()[:1]).encode(),
            Epochs(3, _changes()[1:]).encode(),
        ],
        "msgpack",
        ("govraft.node.lease_judge", "govraft.node.epochs", "govraft.core.evidence.epochs"),
        length_max=24_000,
    ),
    Target(
        "permit-frame",
        "frames about permits: no signature for what this node does not allow itself",
        _permit_frame,
        _frames,
        "msgpack",
        ("govraft.node.permits", "govraft.node.cosigning"),
        prefix=1,
    ),
)
