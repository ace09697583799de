"""`govraft evidence`: what a node has seen other nodes contradict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from govraft.cli.evidence_files import check_target_file, keep_evidence
from govraft.cli.nodes import choose_client, field_of, read_genesis, read_links
from govraft.cli.output import Table, digits, emit, note
from govraft.cli.settings import CliGroup, Settings
from govraft.core.codec.envelope import decode_envelope
from govraft.core.evidence.equivocation import encode_equivocation_file
from govraft.core.evidence.statements import DenialStatement
from govraft.errors import GovraftError, InputError

__all__ = ["evidence"]


@click.group(cls=CliGroup)
def evidence() -> None:
    """Contradictions of nodes: signed, and kept by whoever saw them."""


@evidence.command("list")
@click.pass_obj
def list_evidence(settings: Settings) -> None:
    """List what the node has witnessed.

    `equivocation`: a node signed two roots for one seq; export it, and evict the node with it. `contradiction`: a node
    denied what this one allows, on one and the same state. `two_histories`: quorums certified another state than this
    node holds as certified; `isolation`: the node stopped for good for another reason, as `govraft status` tells.
    """
    with choose_client(settings) as client:
        found = client.read("evidence")
    listed = [
        *({"kind": "equivocation", "node": item["node"]} for item in field_of(found, "equivocations", list)),
        *(_contradiction(item) for item in field_of(found, "contradictions", list)),
        *_isolation(found.get("isolation")),
    ]
    rows = [(item["kind"], item["node"], item.get("seq", ""), digits(item.get("permit", ""))) for item in listed]
    emit(settings.output, listed, Table(("KIND", "NODE", "SEQ", "PERMIT"), rows))


def _isolation(view: dict[str, Any] | None) -> list[dict[str, Any]]:
    if view is None:
        return []
    kind = "two_histories" if view.get("two_histories") else "isolation"
    seq = (view.get("received") or {}).get("seq", "")
    return [{"kind": kind, "node": "", "seq": seq, **{name: view.get(name) for name in ("detail", "received", "own")}}]


def _contradiction(item: dict[str, Any]) -> dict[str, Any]:
    try:
        statement = DenialStatement.decode(decode_envelope(item["denial"]).payload)
    except InputError as error:
        raise GovraftError(f"the node's evidence cannot be read: {error}", code="answer_invalid") from error
    reason = statement.reason.value
    return {
        "kind": "contradiction",
        "node": item["node"],
        "seq": statement.seq,
        "permit": statement.permit,
        "reason": reason,
        "permit_envelope": item["permit"].decode(),
        "denial_envelope": item["denial"].decode(),
    }


@evidence.command()
@click.argument("node")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export(settings: Settings, node: str, file: Path) -> None:
    """Write to FILE that NODE signed two roots for one seq, for `govraft verify` and `govraft member evict`."""
    check_target_file(file)
    genesis = read_genesis(settings)
    with choose_client(settings) as client:
        found = field_of(client.read("evidence"), "equivocations", list)
        links = read_links(client)
    known = next((item for item in found if item["node"] == node), None)
    if known is None:
        raise InputError(f"this node has seen no contradiction of `{node}`; ask another one", code="evidence_unknown")
    data = encode_equivocation_file(known["first"], known["second"], cluster=genesis.cluster_id, links=links)
    keep_evidence(file, data)
    note(f"kept in {file}; check it with: govraft verify {file} --genesis genesis.json")
