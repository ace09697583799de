"""Properties of files that people write or copy: refused with the error the reader promises, never with another."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fuzzing.target import Target, expect, refuses
from fuzzing.world import SCHEMA, world
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.store_guard import StoreGuard, guard_path
from govraft.cli.cluster_directory import load_directory
from govraft.cli.cluster_index import CLUSTER_FILE, ClusterIndex
from govraft.cli.entity_files import batches, read_entities
from govraft.cli.policy_texts import read_policies, split_policies
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.request import Request
from govraft.core.policy.compiled import CompiledPolicies
from govraft.core.policy.engine import EngineError, parse_entities, parse_schema
from govraft.core.policy.hazards import scan_schema, scan_value
from govraft.errors import ConfigError, CorruptionError, DecodeError, InputError
from govraft.node.config import load_config

__all__ = ["TARGETS", "scratch"]

_CONFIG = b"""[node]
id = "n1"
genesis = "genesis.json"
key = "n1.key.pem"
certificate = "n1.cert.pem"
data_dir = "data/n1"
key_passphrase_file = "n1.pass"
[listen]
peer = "127.0.0.1:7101"
socket = "run/n1.sock"
[peers]
n2 = "[::1]:7102"
[timing]
profile = "lan"
heartbeat_ms = 100
election_min_ms = 500
election_max_ms = 1000
sync_wait_ms = 200
[access]
users = ["root"]
groups = ["root"]
"""
_INDEX = {
    "version": 1,
    "name": "demo",
    "cluster": "c" * 64,
    "genesis": "genesis.json",
    "nodes": [{"id": "n1", "socket": "run/n1.sock", "config": "nodes/n1/node.toml"}],
    "keys": [{"id": "olga", "uri": "file2:keys/olga.pem", "roles": ["operator"]}],
}
_ENTITIES: list[dict[str, object]] = [
    {"uid": {"type": "Agent", "id": "b"}, "attrs": {"level": 4}, "parents": ['Team::"a"']},
    {"uid": 'Team::"a"'},
]
_POLICIES = (
    '// first\n@id("one") permit(principal, action == Action::"deploy", resource) when { principal.level > 3 };\n'
    "forbid(principal, action, resource) unless { context has count && context.count < 5 };\n"
)


@cache
def scratch() -> Path:
    """A directory of this process, in memory where there is a file system for that; gone with the process."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    path = Path(tempfile.mkdtemp(prefix="govraft-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _written(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.write_bytes(data)
    return path


def _config(data: bytes) -> bool:
    try:
        config = load_config(_written("node.toml", data))
    except ConfigError:
        return False
    expect(config.socket_path.is_absolute(), "a relative socket path")
    paths = (config.genesis_path, config.key_path, config.data_dir, config.key_passphrase_path or config.key_path)
    expect(not any("\0" in str(path) for path in paths), "a path with a zero byte")
    expect(all(0 <= port <= 65_535 for _, port in [config.peer_listen, *config.peer_addresses.values()]), "no port")
    expect(3 * config.profile.heartbeat_ms < config.profile.election_min_ms, "an election before a heartbeat")
    return True


def _cluster_index(data: bytes) -> bool:
    """Two readers of one file: what both accept they read alike."""
    _written(CLUSTER_FILE, data)
    index = directory = None
    try:
        index = ClusterIndex(scratch())
    except ConfigError:
        index = None
    try:
        directory = load_directory(scratch())
    except ConfigError:
        directory = None
    if index is not None and index.genesis.parent == scratch().resolve():
        expect(refuses(ConfigError, index.read_genesis) or index.genesis.is_file(), "reads a genesis that is not there")
    if index is None or directory is None:
        return False
    expect([node.id for node in index.nodes] == [node.id for node in directory.nodes], "two readers see two clusters")
    return True


def _entities(data: bytes) -> bool:
    try:
        entities = read_entities([_written("entities.json", data)], "root").entities
        commands = list(batches(entities))
    except InputError:
        return False
    expect([entity for batch in commands for entity in batch] == entities, "an entity is lost between the commands")
    return True


def _policies(data: bytes) -> bool:
    try:
        found = read_policies([_written("policies.cedar", data)])
    except InputError:
        return False
    for name, text in found.items():
        expect(hashlib.sha256(text.encode()).hexdigest() == name, "a policy under another id")
        expect(split_policies(text) == [text], "one policy splits into several")
    return True


@cache
def _world_of_policies() -> dict[str, object]:
    return {"schema": parse_schema(SCHEMA)}


def _cedar(data: bytes) -> bool:
    """What the scan lets through must neither kill the engine nor raise anything but its own errors."""
    text = data.decode("utf-8", "replace")
    try:
        compiled = CompiledPolicies.compile(SCHEMA, {hashlib.sha256(text.encode()).hexdigest(): text})
    except InputError:
        return False
    request = Request('Agent::"b"', 'Action::"deploy"', 'Service::"p"', {"env": "prod"})
    decision = compiled.evaluate(request, world().machine.entities)
    expect(decision == compiled.evaluate(request, world().machine.entities), "two answers to one question")
    return True


def _cedar_schema(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    try:
        scan_schema(text)
        parse_schema(text)
    except InputError:
        return False
    return True


def _cedar_value(data: bytes) -> bool:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    try:
        scan_value(value)
        entity = {"uid": {"type": "Agent", "id": "b"}, "attrs": value, "parents": []}
        parse_entities(msgspec.json.encode([entity]).decode(), _world_of_policies()["schema"])  # type: ignore[arg-type]
    except (InputError, EngineError):
        return False
    return True


def _guard(data: bytes) -> bool:
    database = scratch() / "guarded.db"
    guard_path(database).write_bytes(data)
    try:
        guard = StoreGuard(database)
    except CorruptionError:
        return False
    try:
        writes = guard.writes
        if writes is not None:
            guard.mark(writes)
            expect(guard_path(database).read_bytes() == data, "marks again with other bytes")
    finally:
        guard.release()
    return True


def _snapshot(data: bytes) -> bool:
    """The checksum is made to fit, so that the rules behind it are reached."""
    whole = data + hashlib.sha256(data).digest()
    try:
        snapshot = Snapshot.decode(whole)
    except InputError:
        return False
    expect(snapshot.encode() == whole, "encodes again to other bytes")
    try:
        Snapshot.decode(data)
    except DecodeError:
        return True
    return len(data) > 64


def _identity(data: bytes) -> bool:
    """Key and certificate in one input, apart by a zero byte."""
    key, _, certificate = data.partition(b"\0")
    path = _written("n.key.pem", key)
    path.chmod(0o600)
    try:
        identity = NodeIdentity.load(path, _written("n.cert.pem", certificate))
    except ConfigError:
        return False
    expect(len(identity.sign(b"x")) == 64 and len(identity.public_key) == 32, "an identity that cannot sign")
    return True


def _snapshot_seeds() -> list[bytes]:
    machine, sections = (
        world().machine,
        {name: dict(world().machine.records(name)) for name in world().machine.sections},
    )
    seq = machine.seq
    snapshot = Snapshot.make(
        seq=seq,
        index=seq,
        time=machine.time,
        sections=sections,
        leaf=machine.leaf_bytes(seq) or b"",
        proof=machine.lineage.inclusion_proof(seq - 1, seq),
        certificate=world().certificate,
        epochs=(),
    )
    return [snapshot.encode()[:-32]]


def _guard_seeds() -> list[bytes]:
    database = scratch() / "seed.db"
    guard = StoreGuard(database)
    guard.mark(7)
    guard.release()
    return [guard_path(database).read_bytes(), b""]


def _identity_seeds() -> list[bytes]:
    key = world().sample.node_keys["n1"]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    identity = NodeIdentity(key, world().genesis.members[0].certificate)
    return [pem + b"\0" + identity.pem_chain()[len(pem) :]]


def _entity_seeds() -> list[bytes]:
    return [json.dumps(_ENTITIES).encode(), b"\n".join(json.dumps(item).encode() for item in _ENTITIES)]


def _value_seeds() -> list[bytes]:
    boss = {"__entity": {"type": "Agent", "id": "b"}}
    address = {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}
    return [
        json.dumps(value).encode() for value in ({"level": 4, "tags": ["x"], "boss": boss}, {"level": 1, "ip": address})
    ]


_CEDAR_WORDS = (
    b"permit(",
    b"forbid(",
    b" when { ",
    b" unless { ",
    b"if ",
    b" has ",
    b" like ",
    b"//",
    b"\r",
    b'"',
    b"?principal",
)

TARGETS = (
    Target(
        "config",
        "node configuration",
        _config,
        lambda: [_CONFIG],
        "lines",
        ("govraft.node.config",),
        words=(b"[node]", b" = ", b'"""'),
    ),
    Target(
        "cluster-index",
        "cluster.json, by both of its readers",
        _cluster_index,
        lambda: [json.dumps(_INDEX).encode()],
        "json",
        ("govraft.cli.cluster_index", "govraft.cli.cluster_directory"),
    ),
    Target(
        "entities",
        "entity files",
        _entities,
        _entity_seeds,
        "json",
        ("govraft.cli.entity_files", "govraft.cli.input_files"),
    ),
    Target(
        "policy-files",
        "policy files, split into policies",
        _policies,
        lambda: [_POLICIES.encode()],
        "text",
        ("govraft.cli.policy_texts", "govraft.core.policy.hazards"),
        words=_CEDAR_WORDS,
    ),
    Target(
        "cedar-policy",
        "policies: scanned, compiled and evaluated by the native engine",
        _cedar,
        lambda: [line.encode() for line in _POLICIES.splitlines()[1:]],
        "text",
        ("govraft.core.policy.hazards", "govraft.core.policy.compiled"),
        length_max=12_000,
        words=_CEDAR_WORDS,
    ),
    Target(
        "cedar-schema",
        "schemas: scanned and parsed by the native engine",
        _cedar_schema,
        lambda: [SCHEMA.encode()],
        "text",
        ("govraft.core.policy.hazards", "govraft.core.policy.schema_expansion"),
        length_max=50_000,
        words=(b"entity ", b"type ", b" in [", b"Set<", b"appliesTo", b"namespace "),
    ),
    Target(
        "cedar-value",
        "attribute values: scanned and parsed by the native engine",
        _cedar_value,
        _value_seeds,
        "json",
        ("govraft.core.policy.hazards",),
    ),
    Target(
        "guard",
        "the guard beside a database",
        _guard,
        _guard_seeds,
        "bytes",
        ("govraft.adapters.store_guard",),
        length_max=64,
    ),
    Target(
        "snapshot",
        "snapshot files, with a checksum that fits",
        _snapshot,
        _snapshot_seeds,
        "msgpack",
        ("govraft.core.machine.snapshot",),
        length_max=16_384,
    ),
    Target(
        "identity",
        "key and certificate files of a node",
        _identity,
        _identity_seeds,
        "lines",
        ("govraft.adapters.node_key",),
    ),
)
