"""Writes machine.json: one history, byte for byte. Run it only when a format was meant to change, and say why.

The vectors hold for every later version: a node must be able to replay a lineage that was written today.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import SECTIONS
from govraft.core.model.commands import (
    Command,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster

PERMIT = 'permit(principal, action == Action::"run", resource);'
FORBID = "forbid(principal, action, resource) when { context.risk > 7 };"
SCHEMA = (
    'entity Team; entity Agent in [Team]; entity Tool; action "run" appliesTo { principal: [Agent], resource: [Tool] };'
)


class _Writer:
    def __init__(self) -> None:
        self.cluster = SampleCluster(observers=1, operators_needed=2)
        self.machine = Machine(self.cluster.genesis)
        self.time = int(CREATED)
        self.steps: list[dict[str, Any]] = []

    def command(self, kind: Any, /, **fields: Any) -> Any:
        return kind(**{**self.cluster.header(), **fields})

    def step(self, name: str, entry: bytes) -> None:
        applied = self.machine.apply(entry)
        self.steps.append(
            {
                "name": name,
                "entry": entry.hex(),
                "entry_digest": applied.entry_digest.hex(),
                "outcome": applied.outcome.code,
                "leaf": applied.leaf.hex(),
                "root": self.machine.root.hex(),
            }
        )

    def envelope(self, name: str, envelope: bytes) -> None:
        self.time += 1_000
        self.step(name, encode_entry(WallMs(self.time), envelope))

    def do(self, name: str, command: Command, *authors: str) -> None:
        self.envelope(name, self.cluster.sign(command, *authors))


def _forged(envelope: bytes) -> bytes:
    fields = json.loads(envelope)
    fields["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    return json.dumps(fields).encode()


def _accepted(w: _Writer) -> None:
    first = w.command(PolicyPublish, version=1, expected="", schema=SCHEMA, policies=(PERMIT,), removed=())
    w.do("publish version 1", first, "pat")
    one = w.machine.policy_versions[-1].digest
    w.do("activate version 1", w.command(PolicyActivate, version=1, digest=one), "paula")
    w.do(
        "publish version 2",
        w.command(PolicyPublish, version=2, expected=one, schema=None, policies=(FORBID,), removed=()),
        "pat",
        "paula",
    )
    attrs: dict[str, Any] = {
        "level": 3,
        "least": -(2**63),
        "name": 'é"\\\n😀',
        "tags": ["b", "a"],
        "owner": {"__entity": {"type": "Agent", "id": "b"}},
        "network": {"__extn": {"fn": "ip", "arg": "10.0.0.0/8"}},
        "nested": {"on": True, "off": False},
    }
    both = (EntityFields('Agent::"a"', attrs, ('Team::"t"',)), EntityFields('Agent::"b"', {}, ()))
    w.do("put entities", w.command(EntityPut, entities=both), "olga", "oscar")
    patch = w.command(
        EntityPatch, uid='Agent::"a"', set={"level": 4}, unset=("tags",), add_parents=(), remove_parents=('Team::"t"',)
    )
    w.do("patch an entity", patch, "oscar", "olga")
    w.do("delete an entity", w.command(EntityDelete, uids=('Agent::"b"',)), "olga", "oscar")
    subject: dict[str, Any] = {"kind": TargetKind.SUBJECT, "id": 'Agent::"a"', "reason": "seen at 3 a.m."}
    w.do("quarantine", w.command(Quarantine, **subject), "olga", "oscar")
    w.do("release", w.command(Release, **subject), "olga", "oscar")
    w.do("revoke", w.command(Revoke, **subject), "olga", "oscar")
    node: dict[str, Any] = {"kind": TargetKind.NODE, "id": "n3", "reason": "lost"}
    w.do("quarantine a node", w.command(Quarantine, **node), "olga", "oscar", "pat")


def _refused(w: _Writer) -> None:
    target: dict[str, Any] = {"kind": TargetKind.SUBJECT, "id": 'Agent::"c"', "reason": "r"}

    def revoke(**fields: Any) -> Any:
        return w.command(Revoke, **{**target, **fields})

    sign = w.cluster.sign
    w.envelope("not an envelope", b"{}")
    w.envelope("unsigned", sign(revoke()))
    w.envelope("forged", _forged(sign(revoke(), "olga", "oscar")))
    w.envelope("one key twice", sign(revoke(), "olga", "olga"))
    w.envelope("under the threshold", sign(revoke(), "olga", "pat"))
    w.envelope("another cluster", sign(revoke(cluster="0" * 64), "olga", "oscar"))
    w.envelope("expired", sign(revoke(not_after=CREATED), "olga", "oscar"))
    w.envelope("valid for too long", sign(revoke(not_after=CREATED + 10**9), "olga", "oscar"))
    w.envelope("unknown type", w.cluster.sign_payload("text/plain", b"", ["olga"]))
    kind = "application/vnd.govraft.revoke.v1+json"
    w.envelope("not canonical", w.cluster.sign_payload(kind, b'{"a": 1}', ["olga", "oscar"]))
    w.envelope("not a command", w.cluster.sign_payload(kind, b"{}", ["olga", "oscar"]))
    w.envelope("unknown target", sign(revoke(kind=TargetKind.NODE, id="n9"), "olga", "oscar"))
    w.step("not an entry", b"\xc0")
    w.step("replay", bytes.fromhex(w.steps[3]["entry"]))
    short = revoke(not_after=w.time + 2_000)
    w.do("short-lived", short, "olga", "oscar")
    w.envelope("time passes", b"")
    w.envelope("the short-lived command is forgotten", b"")


def vectors() -> dict[str, Any]:
    """The whole file, as plain values."""
    w = _Writer()
    genesis_leaf, genesis_root = w.machine.genesis_leaf.hex(), w.machine.root.hex()
    _accepted(w)
    _refused(w)
    machine, size = w.machine, w.machine.seq
    return {
        "genesis": w.cluster.genesis.encode().decode(),
        "cluster_id": w.cluster.genesis.cluster_id,
        "genesis_leaf": genesis_leaf,
        "genesis_root": genesis_root,
        "steps": w.steps,
        "records": {
            name: {key: value.hex() for key, value in sorted(machine.records(name).items())} for name in SECTIONS
        },
        "inclusion": {
            str(index): [node.hex() for node in machine.lineage.inclusion_proof(index, size)]
            for index in (0, 7, size - 1)
        },
        "consistency": {
            str(old): [node.hex() for node in machine.lineage.consistency_proof(old, size)] for old in (1, 8, 13, size)
        },
    }


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1, ensure_ascii=False)
    Path(__file__).with_name("machine.json").write_text(text + "\n", encoding="utf-8")
