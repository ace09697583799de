"""The files of a node that is to join a cluster: key, certificate, configuration, and what the cluster must know of it.

::

    <id>.key.pem, <id>.cert.pem     never overwritten; the key stays where it is made
    node.toml                       for `govraft-node`
    member.json                     id, public key, certificate and address: for whoever adds the node
    genesis.json                    a copy, unless the node is made in a cluster directory
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from govraft.adapters.node_key import NodeIdentity
from govraft.cli.cluster_creation import NODE_TOML, SOCKET, comment, write_new
from govraft.core.codec.complaints import in_words
from govraft.core.model.commands import MemberFields
from govraft.core.model.electorate import is_address
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import SOCKET_PATH_BYTES
from govraft.errors import ConfigError, GovraftError, InputError
from govraft.node.config import load_config, load_genesis

__all__ = ["MEMBER_FILE", "create_in_directory", "create_member", "read_member"]

MEMBER_FILE = "member.json"
_FILE_BYTES_MAX = 64 * 1024


def create_member(
    home: Path, genesis: bytes, node_id: str, *, listen: str, address: str | None = None, profile: str = "lan"
) -> MemberFields:
    """Make the files of a new node in a directory of its own. All or nothing.

    Args:
        home: Must not exist, or be empty.
        genesis: The cluster's genesis file.
        node_id: Of the new node.
        listen: `host:port` where it accepts the other members.
        address: `host:port` where they dial it, if that differs.
        profile: Of its time-outs: that of the other nodes.

    Raises:
        InputError: The directory is in use, or an argument cannot be.
        ConfigError: A file cannot be written, or the configuration cannot work.
    """
    made = _claim(home)
    try:
        write_new(home / "genesis.json", genesis)
        return _fill(home, genesis, node_id, listen, address or listen, profile, "genesis.json", f"run/{node_id}.sock")
    except OSError as error:
        _clear(home, made=made)
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(error.filename or home)) from error
    except BaseException:
        _clear(home, made=made)
        raise


def create_in_directory(
    directory: Path, node_id: str, *, listen: str, address: str | None = None, profile: str = "lan"
) -> MemberFields:
    """As `create_member`, as one more node of a cluster directory: `govraft cluster` runs it from then on.

    Raises:
        InputError: The directory has such a node, or an argument cannot be.
        ConfigError: A file cannot be read or written, or the configuration cannot work.
    """
    index = directory / "cluster.json"
    home = directory / "nodes" / node_id
    try:
        content: dict[str, Any] = json.loads(index.read_bytes())
        genesis = (directory / "genesis.json").read_bytes()
        home.mkdir(mode=0o700)
    except FileExistsError:
        raise InputError(f"`{home}` exists already and is not overwritten; choose another id", code="exists") from None
    except OSError as error:
        raise ConfigError(f"cannot be used: {error.strerror}", file=str(error.filename or directory)) from error
    except ValueError as error:
        raise ConfigError(f"is not a cluster index: {error}", file=str(index)) from error
    try:
        socket = SOCKET.format(id=node_id)
        made = _fill(home, genesis, node_id, listen, address or listen, profile, "../../genesis.json", socket)
        entry = {"id": node_id, "socket": f"run/{node_id}.sock", "config": f"nodes/{node_id}/node.toml"}
        content["nodes"].append(entry)
        _replace(index, content)
    except OSError as error:
        shutil.rmtree(home, ignore_errors=True)
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(error.filename or home)) from error
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return made


def mark_removed(directory: Path, node_id: str) -> None:
    """Write down in a cluster directory that the node was removed, so that it is neither asked nor started any more.

    Raises:
        ConfigError: The directory cannot be read or written.
    """
    index = directory / "cluster.json"
    try:
        content: dict[str, Any] = json.loads(index.read_bytes())
        found = [node for node in content["nodes"] if node["id"] == node_id and not node.get("removed")]
        if found:
            found[0]["removed"] = True
            _replace(index, content)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(error.filename or index)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"is not a cluster index: {error}", file=str(index)) from error


def _replace(index: Path, content: dict[str, Any]) -> None:
    draft = index.with_name(".cluster.json.new")
    draft.unlink(missing_ok=True)
    write_new(draft, (json.dumps(content, indent=2) + "\n").encode())
    draft.replace(index)


def read_member(path: Path) -> MemberFields:
    """What `member.json` says; `path` is that file or the directory that holds it.

    Raises:
        ConfigError: It cannot be read or used.
    """
    file = path / MEMBER_FILE if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(_FILE_BYTES_MAX), type=MemberFields)
    except OSError as error:
        message = f"cannot be read: {error.strerror}; make one with `govraft member init`"
        raise ConfigError(message, file=str(file)) from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"is not a member file: {in_words(error)}", file=str(file)) from error


def _fill(
    home: Path, genesis: bytes, node_id: str, listen: str, address: str, profile: str, genesis_path: str, socket: str
) -> MemberFields:
    try:
        name = Genesis.decode(genesis).name
    except GovraftError as error:
        raise InputError(f"no node can be made for this genesis: {error}") from error
    if not is_address(address):
        raise InputError(f"`{address[:300]}` is no address, write `host:port`")
    path = os.path.normpath(home.resolve() / socket)
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        message = f"socket path `{path}` is longer than {SOCKET_PATH_BYTES} bytes; choose a shorter directory"
        raise InputError(message, code="path_too_long")
    identity = NodeIdentity.create(node_id)
    fields = MemberFields(node_id, _text(identity.public_key), _text(identity.certificate), address)
    try:
        fields = msgspec.convert(msgspec.to_builtins(fields), MemberFields)
    except msgspec.ValidationError as error:
        raise InputError(f"`{node_id[:80]}` cannot be a node id: {in_words(error)}") from error
    identity.save(home / f"{node_id}.key.pem", home / f"{node_id}.cert.pem")
    text = NODE_TOML.format(
        id=node_id, name=comment(name), genesis=genesis_path, socket=socket, listen=listen, profile=profile
    )
    write_new(home / "node.toml", text.encode())
    load_genesis(load_config(home / "node.toml"))
    write_new(home / MEMBER_FILE, msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n")
    return fields


def _claim(home: Path) -> bool:
    """Take the directory. True if it was made, False if it was there and is empty."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700)
    except FileExistsError:
        if home.is_dir() and not any(home.iterdir()):
            return False
        message = f"`{home}` exists already and is not overwritten; choose another `--out`, or move it away"
        raise InputError(message, code="exists") from None
    except OSError as error:
        raise ConfigError(f"cannot be created: {error.strerror}", file=str(home)) from error
    return True


def _clear(home: Path, *, made: bool) -> None:
    for item in home.iterdir():
        item.unlink(missing_ok=True)
    if made:
        home.rmdir()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
