"""Vectors of what a trust state makes of evidence; see `evidence_vectors`."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from govraft.core.evidence.trust import Trust
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.evidence_worlds import new_members

__all__ = ["make_trust_cases"]

_NEW = ("n3", "n4")
_OLD = ("n1", "n2")


def make_trust_cases() -> list[dict[str, Any]]:
    """Cases with `trust`, the text of a trust file; with `is_past`, or with `advance`."""
    world, founders, longer, thief = new_members(), EvidenceSample(), _longer(), _thief()
    trust, older = world.trust(), founders.trust()
    certificate = world.certificate(nodes=_NEW)
    permit = world.permit(nodes=_NEW, certificate=certificate)
    other = msgspec.structs.replace(trust, root=bytes(32))
    grown = longer.proof(3, 13, certificate=longer.certificate(nodes=_OLD), links=[])
    present = {
        "permit": permit,
        "receipt": _receipt(world, 13, _NEW),
        "lineage": world.export(_NEW),
        "proof": world.proof(3, certificate=certificate),
        "snapshot": world.snapshot(certificate=certificate),
        "certificate": certificate,
        "denial": world.denial(world.denial_statement(node="n3")),
        "equivocation": world.equivocation("n3"),
    }
    past = {
        "permit": founders.permit(),
        "receipt": _receipt(founders, 3, _OLD),
        "lineage": founders.export(),
        "proof": founders.proof(3),
        "snapshot": founders.snapshot(),
        "certificate": founders.certificate(),
        "denial": founders.denial(),
        "equivocation": founders.equivocation("n1"),
    }
    forged = {
        "permit": thief.permit(),
        "receipt": _receipt(thief, 3, _OLD),
        "lineage": thief.export(),
        "proof": thief.proof(3),
        "snapshot": thief.snapshot(),
        "certificate": thief.certificate(),
    }
    return [
        *(_case(f"{kind}: of the present", file, trust) for kind, file in present.items()),
        *(_case(f"{kind}: of an electorate that follows", file, older) for kind, file in present.items()),
        *(_case(f"{kind}: another root", file, other, is_past=True) for kind, file in present.items()),
        *(_case(f"{kind}: of who has left", file, trust) for kind, file in past.items()),
        *(_case(f"{kind}: of who has left, of the past", file, trust, is_past=True) for kind, file in past.items()),
        *(_case(f"{kind}: of their own trust state", file, older) for kind, file in past.items()),
        *(_case(f"{kind}: a forged continuation", file, trust, is_past=True) for kind, file in forged.items()),
        _case("proof: on top of the trusted lineage, by who has left", grown, trust, is_past=True),
        _case("permit: other members of the trusted epoch", _strangers().permit(), trust),
        *(_case(f"{kind}: moves on", file, older, advance=True) for kind, file in (present | past).items()),
        _case("proof: moves on from the seq", world.proof(3, 6, certificate=certificate), older, advance=True),
        _case("proof: does not lead from the seq", world.proof(3, 5, certificate=certificate), older, advance=True),
        _case("proof: of the trusted leaf", world.proof(6, certificate=certificate), older, advance=True),
        _case("receipt: of the trusted leaf", _receipt(world, 3, _NEW), founders.trust(3), advance=True),
        _case("certificate: of who has left, moves nothing", founders.certificate(), trust, advance=True),
        _case("lineage: forged, moves nothing", thief.export(), trust, advance=True),
        _case("proof: forged, moves nothing", grown, trust, advance=True),
        _case("proof: its links go beyond it", founders.proof(6, links=world.chain()), founders.trust(3), advance=True),
    ]


def _longer() -> EvidenceSample:
    world = new_members()
    for _ in range(2):
        world.quarantine(world.machine.seq)
    return world


def _thief() -> EvidenceSample:
    """Epoch 1 goes on beyond the trusted seq."""
    world = EvidenceSample()
    while world.machine.seq < 14:
        world.quarantine(world.machine.seq)
    return world


def _strangers() -> EvidenceSample:
    """Six changes of the electorate that n1 and n2 made up."""
    world = EvidenceSample()
    world.remove("n3", nodes=_OLD)
    for node in ("n8", "n9"):
        world.add_observer(node, nodes=("n1", "n2", "n8"))
        world.promote(node, nodes=("n1", "n2", "n8"))
    world.remove("n8", nodes=("n1", "n2", "n8"))
    return world


def _receipt(world: EvidenceSample, at: int, nodes: tuple[str, ...]) -> bytes:
    return json.dumps(world.receipt(at, lease=world.lease(nodes=nodes)), sort_keys=True).encode()


def _case(name: str, file: bytes, trust: Trust, **options: Any) -> dict[str, Any]:
    genesis = EvidenceSample(quarantined=()).sample.genesis.encode().decode()
    try:
        content = {"file": file.decode()}
    except UnicodeDecodeError:
        content = {"file_base64": base64.b64encode(file).decode("ascii")}
    return {"name": name, "genesis": genesis, "trust": trust.encode().decode(), **content, **options}
