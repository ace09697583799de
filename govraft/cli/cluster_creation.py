"""Make a cluster: keys, genesis, node configurations, and the directory that holds them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.sqlite_store import create_store
from govraft.cli.cluster_directory import ClusterDirectory, load_directory
from govraft.cli.cluster_plan import ClusterPlan, PlannedNode
from govraft.cli.free_ports import find_free_ports
from govraft.core.model.authority import Authority
from govraft.core.model.electorate import Member
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import SOCKET_PATH_BYTES
from govraft.core.model.rules import RULES_NEWEST
from govraft.errors import ConfigError, GovraftError, InputError
from govraft.node.config import load_config, load_genesis

__all__ = ["NODE_TOML", "SOCKET", "comment", "create_cluster", "write_new"]

_PORT_MAX = 65_535

SOCKET = "../../run/{id}.sock"
"""Of a node in a cluster directory, relative to its configuration."""

NODE_TOML = """\
# Node {id} of the cluster "{name}". Paths are relative to this file; `govraft-node check-config` explains mistakes.

[node]
id = "{id}"
genesis = "{genesis}"
key = "{id}.key.pem"
certificate = "{id}.cert.pem"
data_dir = "data"

[listen]
peer = "{listen}"
socket = "{socket}"

[timing]
profile = "{profile}"
"""


def create_cluster(
    plan: ClusterPlan, directory: Path, *, base_port: int | None = None, passphrase: bytes | None = None
) -> ClusterDirectory:
    """Create a cluster that has never run. All or nothing: after an error, nothing is left behind.

    Args:
        plan: Nodes and authorities.
        directory: Must not exist, or be empty.
        base_port: Port of the first node without an address, the next ones follow; None for free ports.
        passphrase: Encrypts the authorities' keys.

    Raises:
        InputError: The directory is in use, its path too long for sockets, or the plan cannot work.
        ConfigError: A file cannot be written.
    """
    target = directory.absolute()
    _check_socket_paths(plan, target)
    nodes = _place(plan, base_port)
    made = _claim(target)
    try:
        _fill(plan, nodes, target, passphrase)
        return load_directory(target)
    except OSError as error:
        _clear(target, made=made)
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(error.filename or target)) from error
    except BaseException:
        _clear(target, made=made)
        raise


def _check_socket_paths(plan: ClusterPlan, target: Path) -> None:
    for node in plan.nodes:
        # As the node will spell it; with and without links in the way.
        for base in {target, target.resolve()}:
            path = os.path.normpath(base / "nodes" / node.id / SOCKET.format(id=node.id))
            if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
                message = f"socket path `{path}` is longer than {SOCKET_PATH_BYTES} bytes"
                raise InputError(f"{message}; choose a shorter `--out`", code="path_too_long")


def _place(plan: ClusterPlan, base_port: int | None) -> list[PlannedNode]:
    open_places = sum(node.address is None for node in plan.nodes)
    if base_port is None:
        ports = find_free_ports(open_places)
    elif 1 <= base_port <= _PORT_MAX - max(open_places - 1, 0):
        ports = list(range(base_port, base_port + open_places))
    else:
        raise InputError(f"`--base-port {base_port}` leaves no room for {open_places} ports up to {_PORT_MAX}")
    left = iter(ports)
    placed = []
    for node in plan.nodes:
        address = f"127.0.0.1:{next(left)}" if node.address is None else node.address
        placed.append(PlannedNode(node.id, address, node.listen or address))
    return placed


def _claim(target: Path) -> bool:
    """Take the directory. True if it was made, False if it was there and is empty."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir()
    except FileExistsError:
        if target.is_dir() and not any(target.iterdir()):
            return False
        message = f"`{target}` exists already and is not overwritten; choose another `--out`, or move it away"
        raise InputError(message, code="exists") from None
    except OSError as error:
        raise ConfigError(f"cannot be created: {error.strerror}", file=str(target)) from error
    return True


def _clear(target: Path, *, made: bool) -> None:
    if made:
        shutil.rmtree(target, ignore_errors=True)
        return
    for item in target.iterdir():
        shutil.rmtree(item, ignore_errors=True) if item.is_dir() else item.unlink(missing_ok=True)


def _fill(plan: ClusterPlan, nodes: list[PlannedNode], target: Path, passphrase: bytes | None) -> None:
    for name, mode in (("nodes", 0o755), ("keys", 0o700), ("run", 0o755), ("log", 0o755)):
        (target / name).mkdir(mode=mode)
    members = tuple(_make_member(node, target) for node in nodes)
    authorities = tuple(_make_authorities(plan, target / "keys", passphrase))
    genesis = _make_genesis(plan, members, authorities)
    write_new(target / "genesis.json", genesis.encode())
    for node in nodes:
        text = NODE_TOML.format(
            id=node.id,
            name=comment(plan.name),
            genesis="../../genesis.json",
            socket=SOCKET.format(id=node.id),
            listen=node.listen,
            profile=plan.profile,
        )
        write_new(target / "nodes" / node.id / "node.toml", text.encode())
        config = load_config(target / "nodes" / node.id / "node.toml")
        load_genesis(config)
        config.data_dir.mkdir(mode=0o700)
        # Here, once, and never by a node that finds none: see `create_store`.
        create_store(config.database, cluster_id=genesis.cluster_id, node_id=node.id, late=False)
    # Last: a directory without it was never finished.
    write_new(target / "cluster.json", _index(plan, nodes, authorities, genesis))


def _make_member(node: PlannedNode, target: Path) -> Member:
    home = target / "nodes" / node.id
    home.mkdir(mode=0o700)
    identity = NodeIdentity.create(node.id)
    identity.save(home / f"{node.id}.key.pem", home / f"{node.id}.cert.pem")
    return Member(node.id, identity.public_key, identity.certificate, voter=True, address=node.address or "")


def _make_authorities(plan: ClusterPlan, keys: Path, passphrase: bytes | None) -> list[Authority]:
    made = []
    for role, allotment in plan.authorities.items():
        for number in range(1, allotment.keys + 1):
            key = Ed25519PrivateKey.generate()
            encryption: KeySerializationEncryption = (
                NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
            )
            name = f"{role.value}-{number}"
            write_new(keys / f"{name}.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
            made.append(Authority(name, key.public_key().public_bytes_raw(), (role,)))
    return sorted(made, key=lambda authority: authority.id)


def _make_genesis(plan: ClusterPlan, members: tuple[Member, ...], authorities: tuple[Authority, ...]) -> Genesis:
    draft = Genesis(
        version=1,
        name=plan.name,
        created=time.time_ns() // 1_000_000,
        nonce=secrets.token_hex(16),
        quorum=plan.quorum,
        lease_ms=plan.lease_ms,
        clock_drift_max_ppm=plan.clock_drift_max_ppm,
        clock_skew_max_ms=plan.clock_skew_max_ms,
        members=members,
        authorities=authorities,
        thresholds={role.value: allotment.threshold for role, allotment in plan.authorities.items()},
        rules=RULES_NEWEST,
    )
    # Decoded again: whatever a node would refuse is refused now, when it costs nothing.
    try:
        return Genesis.decode(draft.encode())
    except GovraftError as error:
        raise InputError(f"such a cluster cannot work: {error}") from error


def _index(plan: ClusterPlan, nodes: list[PlannedNode], authorities: tuple[Authority, ...], genesis: Genesis) -> bytes:
    content = {
        "version": 1,
        "name": plan.name,
        "cluster": genesis.cluster_id,
        "genesis": "genesis.json",
        "nodes": [
            {"id": node.id, "socket": f"run/{node.id}.sock", "config": f"nodes/{node.id}/node.toml"} for node in nodes
        ],
        "keys": [
            {"id": a.id, "uri": f"file2:keys/{a.id}.pem", "roles": [role.value for role in a.roles]}
            for a in authorities
        ],
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def comment(text: str) -> str:
    """Text that stays within its line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that must not exist yet; durable on return."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
