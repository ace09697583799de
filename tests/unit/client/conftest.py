"""Nodes to ask: an honest stub and a hostile one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_node import HostileNode, Script

from govraft.api.peer_credentials import PeerRules
from govraft.testing.node_stub import NodeStub


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Callable[..., HostileNode]]:
    nodes: list[HostileNode] = []

    def start(script: Script, *, greet: bool = True) -> HostileNode:
        nodes.append(HostileNode(tmp_path / f"h{len(nodes)}", script, greet=greet))
        return nodes[-1]

    yield start
    for node in nodes:
        node.close()


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[NodeStub]:
    with NodeStub(tmp_path / "s", rules=PeerRules(frozenset({os.getuid()}))) as node:
        yield node
