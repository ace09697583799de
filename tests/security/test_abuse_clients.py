"""Clients that take all they can get from a real node: its memory stays bounded, and a polite client is served.

Every greedy client is a program of its own. The polite one asks every 20 ms; what it met is printed, and bounded
generously: the machine that runs this may be busy. No check of it may be denied, because the node must not lose its
lease over its clients.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.cluster_harness import Cluster, Node, eventually
from security.polite import LATENCY_S, Vitals, attacked, measure, withstand

from govraft.core.model.limits import CLIENTS

pytestmark = pytest.mark.cluster

SECONDS = 1.6
GROWTH_MIB = 160
"""The budget of all clients each way is 64 MiB; the rest is the allocator's, and what is decoded."""


@pytest.fixture(scope="module")
def crowded() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.start()
        cluster.activate_policy(cluster.nodes["node-1"])
        yield cluster


@pytest.fixture
def node(crowded: Cluster) -> Node:
    """The leader: it has most to do, and most to lose."""
    crowded.start()
    return crowded.leader()


ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "one client with a thousand checks in flight": ("checks", {"clients": 1, "depth": 1000}),
    "sixty-four such clients": ("checks", {"clients": 64, "depth": 1000}),
    "a thousand clients with fifty checks in flight": ("checks", {"clients": 1000, "depth": 50}),
    "one client with hundreds of the largest batches": ("batches", {"clients": 1, "depth": 500}),
    "twenty clients with the largest batches": ("batches", {"clients": 20, "depth": 50}),
    "batches small on the wire and large in memory": ("batches", {"clients": 1, "depth": 60, "size": 15, "filler": 60_000}),
    "checks that wait far ahead": ("waiting", {"clients": 4, "depth": 1000, "filler": 10}),
    "checks that wait, small on the wire and large in memory": ("waiting", {"clients": 2, "depth": 100, "filler": 30_000}),
    "reads without end": ("reads", {"clients": 8, "depth": 200}),
    "five thousand watches": ("watches", {"clients": 100, "depth": 50}),
    "clients that never read": ("unread", {"clients": 50}),
    "frames that never end": ("endless", {"clients": 130}),
    "connections made and dropped": ("churn", {"clients": 20}),
}  # fmt: skip


REFUSALS = {"watches": ("watching", "watches_full")}
"""What the greedy ones must be told."""


@pytest.mark.parametrize("what", ATTACKS)
def test_a_greedy_client_gets_its_share_only(crowded: Cluster, node: Node, what: str) -> None:
    kind, options = ATTACKS[what]
    attack, told = (kind, str(node.socket), options), REFUSALS.get(kind, ())
    withstand(crowded, node, attack, seconds=SECONDS, growth_mib=GROWTH_MIB, told=told)


def test_one_client_more_than_the_limit_is_told_so(node: Node) -> None:
    vitals, descriptors = Vitals(node.process.pid), Vitals(node.process.pid).descriptors()
    assert node.check("polite")
    with contextlib.ExitStack() as held:
        refusal = b""
        for number in range(CLIENTS + 8):
            peer = held.enter_context(socket.socket(socket.AF_UNIX))
            peer.settimeout(5)
            peer.connect(str(node.socket))
            if number >= CLIENTS:
                refusal = peer.recv(4096)
                assert b"clients_full" in refusal and b"too many clients" in refusal
                assert peer.recv(1) == b""
        assert refusal
        # One that was there before goes on being served, and a new one is denied in words.
        assert node.check("polite")
        assert vitals.descriptors() > CLIENTS
    eventually(lambda: vitals.descriptors() <= descriptors + 4, lambda: f"{vitals.descriptors()} descriptors")
    assert node.check("polite")


def test_a_low_limit_of_descriptors_is_raised_or_lowers_the_number_of_clients(tmp_path: Path) -> None:
    """With 300 descriptors and no more to be had, 44 clients are served, and the node goes on."""
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, {})); from govraft.cli.node import main; main()"
    with Cluster(1) as cluster, contextlib.ExitStack() as held:
        node = cluster.nodes["node-1"]
        node.program = ["-c", program.format(300), "run", "--config"]
        cluster.start()
        cluster.activate_policy(node)
        assert "few descriptors" in node.log()
        said = []
        for _ in range(60):
            peer = held.enter_context(socket.socket(socket.AF_UNIX))
            peer.settimeout(0.05)
            peer.connect(str(node.socket))
            try:
                said.append(peer.recv(4096))
            except TimeoutError:
                said.append(b"")
        assert sum(b"clients_full" in answer for answer in said) in range(16, 21)
        assert node.check("polite")
        held.close()
        node.stop()
        node.program = ["-c", program.format(5_000), "run", "--config"]
        cluster.start()
        limits = (Path("/proc") / str(node.process.pid) / "limits").read_text()
        assert next(line for line in limits.splitlines() if "open files" in line).split()[3] == "4096"


def commands(cluster: Cluster, count: int, file: Path, **fields: Any) -> str:
    """A file of that many valid envelopes."""
    envelopes = (cluster.quarantine(f"flood-{number}", **fields) for number in range(count))
    file.write_text("\n".join(base64.b64encode(envelope).decode() for envelope in envelopes))
    return str(file)


def test_a_flood_of_valid_commands_delays_and_refuses_nobody_else(crowded: Cluster, node: Node, tmp_path: Path) -> None:
    """One authority hands in thousands of commands at once; checks and another authority's command go on."""
    file = commands(crowded, 3_000, tmp_path / "envelopes")
    vitals, before = Vitals(node.process.pid), Vitals(node.process.pid).rss_mib()
    vitals.reset_peak()
    with attacked(node, ("submits", str(node.socket), {"file": file, "depth": 1000}), seconds=4) as attacks:
        time.sleep(0.3)
        met = measure(node, 1.5)
        began = time.monotonic()
        receipt = crowded.others(node)[0].client.submit(crowded.quarantine("urgent"), timeout=15)
        took_s = time.monotonic() - began
        counts = attacks[0].counts()
    seq = node.status()["certified_seq"]
    print(
        f"\n{met}; another's command took {took_s:.2f} s; {counts}; seq {seq}; {before:.0f} -> {vitals.peak_mib():.0f} MiB"
    )
    assert receipt.certified_seq >= receipt.seq > 0
    assert not node.check("urgent", at_least=receipt.seq)
    assert met.allowed >= 0.5
    assert set(met.answers) <= {"allow", "synchronizing"}
    assert met.worst_s < LATENCY_S
    assert vitals.peak_mib() - before < GROWTH_MIB


def test_an_oversized_command_is_refused_in_words(crowded: Cluster, node: Node) -> None:
    huge = crowded.quarantine("huge", reason="x" * 200_000)
    with pytest.raises(Exception, match="131072|large|limit"):
        node.client.submit(huge)
    assert node.check("polite")
