"""Start, watch and stop all nodes of a cluster directory on this host.

`up` and `down` may be repeated: what runs is left alone, what does not run is not stopped. An `up` that fails stops
what it started.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from govraft.cli.cluster_directory import LINKS, ClusterDirectory, NodeRecord
from govraft.cli.output import note
from govraft.cli.processes import Process, find_process, python_command, start_process, wait_until
from govraft.cli.throwaway_storage import allow_forgetful
from govraft.client.client import Client
from govraft.core.model.reasons import Reason
from govraft.errors import AvailabilityError, ConfigError, GovraftError, InputError
from govraft.node.config import load_config
from govraft.testing.link_control import LinkControl, link_name

__all__ = ["NodeState", "is_proxied", "node_states", "start_cluster", "stop_cluster"]

STOP_TIMEOUT_S = 10.0
_STATUS_TIMEOUT_S = 1.0
_LOG_TAIL_BYTES = 4096
_SECRETS = ("GOVRAFT_KEY_PASSPHRASE",)


class NodeState(msgspec.Struct, frozen=True):
    """One node as it is now.

    Attributes:
        pid: Of its process; None if it does not run.
        standing: `allow`, or the reason why it denies; `node_unreachable` if it does not answer.
        status: Its own account of itself; nothing but `standing` if it does not answer.
    """

    id: str
    pid: int | None
    endpoint: str
    standing: str
    status: dict[str, Any]


def start_cluster(directory: ClusterDirectory, *, proxied: bool, timeout_s: float) -> list[NodeState]:
    """Start every node that does not run, and wait until all may allow.

    Raises:
        InputError: Some nodes run already, with other links than wanted.
        ConfigError: A configuration cannot be used.
        AvailabilityError: Not all may allow after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with _locked(directory), ExitStack() as held:
        idle = [node for node in directory.members if not _runs(directory, node.id)]
        if len(idle) < len(directory.members) and proxied is not is_proxied(directory):
            raise InputError(
                f"the cluster runs already, and not with such links; stop it: `govraft cluster down {directory.path}`"
            )
        started: list[Process] = []
        try:
            if proxied and not _runs(directory, LINKS):
                started.append(held.enter_context(_start_links(directory, deadline)))
            said = allow_forgetful(Path(node.config) for node in idle)
            if said:
                note(said)
            for node in idle:
                process = held.enter_context(_start_node(directory, node, proxied=proxied))
                started.append(process)
            return _wait_for_allow(directory, deadline)
        except BaseException:
            for process in started:
                process.stop(STOP_TIMEOUT_S)
            raise


def stop_cluster(directory: ClusterDirectory, *, timeout_s: float = STOP_TIMEOUT_S) -> dict[str, str]:
    """Stop whatever runs: the nodes, then the link proxy.

    Returns:
        What became of each: `stopped`, `killed` after `timeout_s`, or `not running`.

    Raises:
        AvailabilityError: A process does not end.
    """
    outcomes: dict[str, str] = {}
    with _locked(directory), ExitStack() as held:
        found = {name: find_process(directory.pid_path(name)) for name in _names(directory)}
        running = {name: held.enter_context(process) for name, process in found.items() if process is not None}
        for name in [*found, LINKS]:
            process = running.get(name)
            if process is None:
                outcomes.setdefault(name, "not running")
            else:
                outcomes[name] = "stopped" if process.stop(timeout_s) else "killed"
    if LINKS not in running:
        del outcomes[LINKS]
    return outcomes


def node_states(directory: ClusterDirectory) -> list[NodeState]:
    """Ask every node that was not removed how it is."""
    return [_state(directory, node) for node in directory.members]


def is_proxied(directory: ClusterDirectory) -> bool:
    """Whether the nodes' traffic goes through the link proxy."""
    return _runs(directory, LINKS)


def _names(directory: ClusterDirectory) -> list[str]:
    return [*(node.id for node in directory.nodes), LINKS]


def _runs(directory: ClusterDirectory, name: str) -> bool:
    process = find_process(directory.pid_path(name))
    if process is None:
        return False
    with process:
        return True


@contextmanager
def _locked(directory: ClusterDirectory) -> Iterator[None]:
    """Hold the directory: two commands at once would start each node twice."""
    path = directory.path / "run" / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise AvailabilityError(f"another `govraft cluster` command works on {directory.path}; wait for it") from error
    finally:
        os.close(descriptor)


def _environment() -> dict[str, str]:
    """The node's environment: without what only the authorities' keys need."""
    return {name: value for name, value in os.environ.items() if name not in _SECRETS}


def _start(directory: ClusterDirectory, name: str, command: list[str]) -> Process:
    return start_process(
        command, log=directory.log_path(name), record=directory.pid_path(name), environment=_environment()
    )


def _start_node(directory: ClusterDirectory, node: NodeRecord, *, proxied: bool) -> Process:
    config = Path(node.config)
    load_config(config)
    if proxied:
        config = _proxied_config(directory, node)
    return _start(directory, node.id, python_command("govraft.cli.node", "run", "--config", str(config)))


def _start_links(directory: ClusterDirectory, deadline: float) -> Process:
    listening = {node.id: load_config(node.config).peer_listen for node in directory.nodes}
    targets = {
        link_name(source, target): "{}:{}".format(*listening[target])
        for source in listening
        for target in listening
        if source != target
    }
    plan = directory.path / "run" / f"{LINKS}.json"
    plan.write_text(json.dumps(targets, indent=2) + "\n", encoding="utf-8")
    directory.control_path.unlink(missing_ok=True)
    command = python_command("govraft.testing.link_proxy", str(plan), str(directory.control_path))
    process = _start(directory, LINKS, command)
    while not _is_answered(LinkControl(directory.control_path)):
        if process.wait(0) or time.monotonic() > deadline:
            process.stop(STOP_TIMEOUT_S)
            process.__exit__()
            raise AvailabilityError(f"the link proxy did not start: {_last_words(directory, LINKS)}")
        wait_until(deadline)
    return process


def _is_answered(links: LinkControl) -> bool:
    """Whether the proxy listens: its socket is there a moment before."""
    try:
        links.states()
    except AvailabilityError:
        return False
    return True


def _proxied_config(directory: ClusterDirectory, node: NodeRecord) -> Path:
    """The node's configuration, with every peer dialled through the link proxy. It lies beside the original."""
    original = Path(node.config).read_text(encoding="utf-8")
    if "peers" in tomllib.loads(original):
        raise ConfigError("has addresses of its own, which the link proxy would replace", file=node.config, key="peers")
    links = LinkControl(directory.control_path).states()
    peers = "".join(
        f'"{other.id}" = "127.0.0.1:{links[link_name(node.id, other.id)].port}"\n'
        for other in directory.nodes
        if other.id != node.id
    )
    path = Path(node.config).with_name("node.proxied.toml")
    path.write_text(f"{original}\n[peers]\n{peers}", encoding="utf-8")
    return path


def _wait_for_allow(directory: ClusterDirectory, deadline: float) -> list[NodeState]:
    while True:
        states = node_states(directory)
        # A node that learns that it is no member denies for good, whoever removed it: that is no failure to start.
        if all(state.standing in {"allow", Reason.REVOKED.value} for state in states):
            return states
        for state in states:
            if state.pid is None:
                raise AvailabilityError(f"`{state.id}` has stopped: {_last_words(directory, state.id)}")
        if time.monotonic() > deadline:
            standings = ", ".join(f"{state.id} {state.standing}" for state in states)
            raise AvailabilityError(f"not all nodes may allow in time: {standings}; see {directory.path / 'log'}")
        wait_until(deadline)


def _state(directory: ClusterDirectory, node: NodeRecord) -> NodeState:
    endpoint = f"unix://{node.socket}"
    process = find_process(directory.pid_path(node.id))
    pid = None
    if process is not None:
        with process:
            pid = process.pid
    # Asked even without a process of ours: something else, such as systemd, may run it.
    with Client(endpoint, timeout=_STATUS_TIMEOUT_S) as client:
        try:
            status = client.status()
        except GovraftError:
            status = {"standing": Reason.NODE_UNREACHABLE.value}
    return NodeState(node.id, pid, endpoint, str(status.get("standing", Reason.INTERNAL_ERROR.value)), status)


def _last_words(directory: ClusterDirectory, name: str) -> str:
    path = directory.log_path(name)
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            lines = stream.read().decode(errors="replace").split("\n")
    except OSError as error:
        return f"{path} {error.strerror}"
    said = [line.strip() for line in lines if line.strip()]
    return f"{said[-1] if said else 'it said nothing'} ({path})"
