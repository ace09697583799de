"""The process whose disk fails: writes a plan into a store, and says what was acknowledged.

Usage:
    workload.py write DIRECTORY SEED COUNT [--pages N] [--plant NAME]
    workload.py recover SEED COUNT DIRECTORY...

`write` makes the store if there is none, goes on where it stands, and says `created`, `batch N` and `snapshot N` as
soon as the product has promised so much; `failed` and `refused` when it would not. `recover` opens what a power
failure left in each directory, writes one more batch, and says the same with the directory's name in front.
"""

from __future__ import annotations

import argparse
import os
import types
from pathlib import Path

from crash.plan import CLUSTER, DATABASE, NODE, Plan, held_by, snapshot_number

from govraft.adapters import snapshot_file, sqlite_store, store_log
from govraft.adapters.sqlite_store import SqliteStore, create_store
from govraft.adapters.store_guard import StoreGuard
from govraft.errors import StorageError


def say(*words: object) -> None:
    """One line in one system call, so that the trace shows it at its place."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def open_store(path: Path) -> SqliteStore:
    return SqliteStore(path, cluster_id=CLUSTER, node_id=NODE, may_create=False)


def found(store: SqliteStore, *prefix: str) -> int:
    """Whatever a node reads when it starts, it acts on: from here on that is promised as well."""
    held, snapshot = held_by(store)
    say(*prefix, "batch", held.hard_state.term)
    say(*prefix, "snapshot", snapshot_number(snapshot))
    return held.hard_state.term


def write(directory: Path, plan: Plan, pages: int, plant: str) -> None:
    path = directory / DATABASE
    if not path.exists():
        create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
        say("created")
    store = _opened(path, pages, plant)
    number = found(store)
    while number < plan.count:
        store.write(plan.batches[number])
        number += 1
        say("batch", number)
        if plan.saves_snapshot(number):
            store.save_snapshot(plan.snapshot(number))
            say("snapshot", number)
        if plan.reopens(number):
            store.close()
            store = _opened(path, pages, plant)
            found(store)
    store.close()


def write_through_failures(directory: Path, plan: Plan, pages: int) -> None:
    """Like `write`, but goes on asking after a failure, as a careless caller would."""
    path = directory / DATABASE
    create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
    say("created")
    store = _opened(path, pages, "")
    number = found(store)
    for batch in plan.batches[number:]:
        try:
            store.write(batch)
            number += 1
            say("batch", number)
            if plan.saves_snapshot(number):
                store.save_snapshot(plan.snapshot(number))
                say("snapshot", number)
        except StorageError as error:
            say("refused" if error.code == "storage_stopped" else "failed")


def recover(directories: list[Path], plan: Plan) -> None:
    for directory in directories:
        store = open_store(directory / DATABASE)
        number = found(store, directory.name)
        if number < plan.count:
            store.write(plan.batches[number])
            say(directory.name, "batch", number + 1)
        store.close()


def _opened(path: Path, pages: int, plant: str) -> SqliteStore:
    # Only sooner than usual: a log of 4 MB would need thousands of batches.
    store_log._FOLD_PAGES = pages
    store = open_store(path)
    if plant.startswith("synchronous"):
        store._connection.execute(f"PRAGMA synchronous = {plant.partition('-')[2]}")
    return store


def _plant(name: str) -> None:
    """Make the product faulty in the named way. The tests want to see it noticed."""
    if name == "snapshot-unsynced":
        snapshot_file.os = types.SimpleNamespace(**{**vars(os), "fsync": lambda _: None})
    elif name == "snapshot-name-unsynced":
        snapshot_file.sync_directory = lambda _: None
    elif name == "creation-name-unsynced":
        sqlite_store.sync_directory = lambda _: None
    elif name == "guard-never-synced":
        mark = StoreGuard.mark
        StoreGuard.mark = lambda guard, writes, *, sync=False: mark(guard, writes, sync=sync and not writes)
    elif name in ("guard-first", "read-not-synced"):
        commit = SqliteStore._commit

        def planted(self, ops, progress):
            if name == "guard-first":
                self._guard.mark(self._writes + 1)
            elif not ops and self._writes:
                return
            commit(self, ops, progress)

        SqliteStore._commit = planted
    elif name and not name.startswith("synchronous"):
        raise SystemExit(f"unknown plant {name}")


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("directory", type=Path)
    writing.add_argument("seed", type=int)
    writing.add_argument("count", type=int)
    writing.add_argument("--pages", type=int, default=store_log._FOLD_PAGES)
    writing.add_argument("--plant", default="")
    writing.add_argument("--go-on", action="store_true")
    recovering = commands.add_parser("recover")
    recovering.add_argument("seed", type=int)
    recovering.add_argument("count", type=int)
    recovering.add_argument("directories", type=Path, nargs="+")
    arguments = parser.parse_args()
    plan = Plan(arguments.seed, arguments.count)
    if arguments.command == "recover":
        recover(arguments.directories, plan)
        return
    _plant(arguments.plant)
    if arguments.go_on:
        write_through_failures(arguments.directory, plan, arguments.pages)
    else:
        write(arguments.directory, plan, arguments.pages, arguments.plant)


if __name__ == "__main__":
    main()
