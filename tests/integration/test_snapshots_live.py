"""Snapshots of real processes: a quick start, a member fed from the disk, and a damaged file that stops the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.core.machine.snapshot import Snapshot
from govraft.testing.local_cluster import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

COMMANDS = 130
STORAGE = "\n[storage]\nsnapshot_entries = 100\nwindow_entries = 64\n"


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(3, links=False) as made:
        for node in made.nodes.values():
            node.config.write_text(node.config.read_text() + STORAGE)
        yield made


def snapshot_of(database: Path) -> Path:
    return database.with_name(database.name + ".snapshot")


@pytest.mark.clause("5 replication")
@pytest.mark.clause("5 runtime recovery")
def test_start_from_a_snapshot_and_from_a_damaged_one(cluster: LocalCluster) -> None:
    first, second, late = cluster.nodes.values()
    cluster.start(first.id, second.id)
    for number in range(COMMANDS):
        cluster.submit(cluster.commands.quarantine(f'Agent::"a{number}"'))
    snapshot = Snapshot.decode(snapshot_of(first.database).read_bytes())
    assert 100 <= snapshot.seq <= COMMANDS + 1
    assert len(snapshot.sections["entities"]) == snapshot.seq - 1

    # It starts with an empty journal: what it lacks is no longer in the others' memory.
    cluster.start(late.id)
    assert late.status()["seq"] >= COMMANDS + 1

    first.kill()
    cluster.start(first.id)
    assert first.status()["seq"] >= COMMANDS + 1
    assert len(first.lineage()) >= COMMANDS + 1, "old leaves and entries are served from the disk"
    assert all(entry is not None for _, entry in first.lineage()[1:])

    first.kill()
    file = snapshot_of(first.database)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    code, said = first.run_to_end()
    assert code == 3
    assert f"`{file}` cannot be used" in said
    assert "remove it and start again" in said
    file.unlink()
    cluster.start(first.id)
    cluster.submit(cluster.commands.quarantine('Agent::"after"'))
    cluster.wait_until_serving()
