"""Enforcement and attestation in a simulated cluster: marks of every kind, statements that agree and that do not."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

from govraft.core.codec.in_toto import STATEMENT_TYPE, encode_statement
from govraft.core.model.commands import (
    Attest,
    AttestationResolve,
    EnforcementCommand,
    Invalidate,
    Isolate,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.testing.simulation.workload import Drawn, Stage, key_of, seal_by, signed_by

__all__ = ["draw_attestations", "draw_enforcement"]

_KINDS: tuple[type[EnforcementCommand], ...] = (Quarantine, Quarantine, Release, Release, Isolate, Invalidate, Revoke)
_TYPES = ("https://example.com/scan/v1", "https://example.com/sbom/v1")
_ENTITIES = tuple(f'Tool::"w{number}"' for number in range(4))
_SUBJECTS = tuple(f'Agent::"w{number}"' for number in range(4))
_LIVES_MS = (0, 1, 500, 5_000, 60_000, 3_600_000)
_WRONG = "0" * 64
_WRONG_SHARE = 0.1


def draw_enforcement(rng: random.Random, stage: Stage) -> Drawn | None:
    """A mark or a release, of any kind of target."""
    kind = rng.choice(list(TargetKind))
    count = rng.choice((1, 1, 1, 3)) if stage.machine.rules >= 2 else 1
    names = [_wrong_target(rng) if rng.random() < _WRONG_SHARE else _target(rng, stage, kind) for _ in range(count)]
    target: dict[str, Any] = {"id": names[0]} if count == 1 else {"targets": tuple(sorted(set(names)))}
    command = rng.choice(_KINDS)(**stage.header(), kind=kind, **target, reason=f"drawn {rng.randrange(1_000)}")
    is_for_root = isinstance(command, Release) and rng.random() < 0.5
    authors = ("rita", "ruth") if is_for_root else rng.choice((("olga",), ("oscar",), ("olga", "oscar")))
    return signed_by(stage, command, *(("pat",) if rng.random() < _WRONG_SHARE else authors))


def draw_attestations(rng: random.Random, stage: Stage) -> Drawn | None:
    """A statement that agrees or disagrees, fits its chain or not; now and then a resolution."""
    entity, predicate_type = rng.choice(_ENTITIES), rng.choice(_TYPES)
    heads = stage.machine.state.attestations.heads(entity, predicate_type)
    digests = [heads[name].digest for name in sorted(heads)]
    if digests and rng.random() < 0.25:
        keep = rng.choice((*digests, None, _WRONG))
        about: dict[str, Any] = {"entity": entity, "predicate_type": predicate_type, "keep": keep, "reason": "drawn"}
        command = AttestationResolve(**stage.header(), **about)
        return signed_by(stage, command, *rng.choice((("olga",), ("olga", "oscar"), ("ada",))))
    attestor, signer = rng.choice(("abe", "ada")), rng.choice(("abe", "ada"))
    author = attestor if rng.random() > _WRONG_SHARE else signer
    known = heads.get(attestor)
    last = None if known is None else known.digest
    statement = _statement(rng, stage, predicate_type, attestor)
    if statement is None:
        return None
    attest = Attest(
        **stage.header(),
        statement=statement,
        entity=entity,
        expires=stage.machine.time + rng.choice(_LIVES_MS),
        supersedes=last if rng.random() > _WRONG_SHARE else rng.choice((None, _WRONG)),
    )
    return signed_by(stage, attest, author)


def _statement(rng: random.Random, stage: Stage, predicate_type: str, attestor: str) -> str | None:
    artefact = hashlib.sha256(bytes([rng.randrange(2)])).hexdigest()
    # The serial makes each statement another one; what it says stays one of a few things.
    subjects = {f"artefact {rng.randrange(10**9)}": artefact}
    payload = encode_statement(predicate_type, subjects, {"clean": rng.random() < 0.8})
    key = key_of(stage, attestor)
    if key is None:
        return None
    data = seal_by((key,), STATEMENT_TYPE, payload)
    return base64.b64encode(data if rng.random() > _WRONG_SHARE else data[:-1]).decode("ascii")


def _target(rng: random.Random, stage: Stage, kind: TargetKind) -> str:
    machine, watched = stage.machine, stage.is_watched
    if kind is TargetKind.SUBJECT:
        return rng.choice(_SUBJECTS)
    if kind is TargetKind.RESOURCE:
        return rng.choice(_ENTITIES)
    if kind is TargetKind.ACTION:
        return 'Action::"never asked"' if watched else f'Action::"{rng.choice(("run", "stop"))}"'
    if kind is TargetKind.ATTESTATION:
        return rng.choice([*sorted(machine.state.attestations.by_digest), _WRONG])
    if watched:
        return "unheard-of"
    if kind is TargetKind.NODE:
        return rng.choice([member.id for member in machine.electorate.members])
    if kind is TargetKind.DOMAIN:
        return rng.choice(("root", *sorted(machine.state.domains.domains)))
    active = machine.active_policies
    names: list[str] = [] if active is None else list(active.policies)
    return rng.choice([*names, _WRONG])


def _wrong_target(rng: random.Random) -> str:
    return rng.choice(("", "nobody", _WRONG, 'Action::"w"', 'Agent::"w'))
