"""A network of kernel namespaces: each node in one of its own, joined by a bridge in one more.

Needs root and `ip`. No namespace has a name, and nothing is made in the namespace of the host: each is held by a child
process that dies with this one, and with the last process in it the kernel removes a namespace, its interfaces and the
bridge. So nothing stays behind, even after SIGKILL. Unix sockets reach across network namespaces: clients ask the nodes
as usual.

A directed link is cut by giving the sender a wrong link-layer address for the receiver: its frames then go to nobody,
silently, with no packet filter needed. TCP needs both directions to get on, so one cut direction soon stalls both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from govraft.testing.link_proxy import Mode
from govraft.testing.local_cluster_errors import ClusterError
from govraft.testing.local_cluster_network import Condition, Pair
from govraft.testing.local_cluster_node import LocalNode
from govraft.testing.local_cluster_process import ChildProcess, wait_for

__all__ = ["NamespaceNetwork", "missing_for_namespaces"]

_SUBNET = "10.83.0"
_PORT = 7100
_NOBODY = "02:00:00:00:ff:ff"
_HOLD_S = "100000"
_COMMAND_S = 20.0


def missing_for_namespaces() -> str:
    """Why this process cannot make namespaces; empty if nothing speaks against it."""
    if os.geteuid() != 0:
        return "namespaces need root"
    gone = [name for name in ("ip", "nsenter", "unshare", "sleep") if shutil.which(name) is None]
    return f"`{gone[0]}` is not installed" if gone else ""


class NamespaceNetwork:
    """One namespace a node. A `ClusterNetwork` that can cut, and nothing else."""

    name = "namespaces"

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._holders: dict[str, ChildProcess] = {}
        self._cut: set[Pair] = set()
        self._log = Path(os.devnull)

    def addresses(self, node_ids: Collection[str]) -> Mapping[str, str]:
        """One address a node, all on one subnet that only their namespaces know."""
        self._numbers = {node_id: number for number, node_id in enumerate(node_ids, 1)}
        return {node_id: f"{self._address(node_id)}:{_PORT}" for node_id in node_ids}

    def open(self, nodes: Mapping[str, LocalNode], home: Path) -> None:
        """Make the namespaces, join them, and let each node start in its own.

        Raises:
            ClusterError: This process may not.
        """
        missing = missing_for_namespaces()
        if missing:
            raise ClusterError(f"{missing}; use the loopback proxy", code="namespaces_missing")
        self._log = home / "log" / "namespaces.log"
        for name in ("bridge", *nodes):
            self._holders[name] = self._hold()
        self._ip("bridge", ["link add br0 type bridge", "link set br0 up"])
        for node_id, node in nodes.items():
            number, holder = self._numbers[node_id], self._holders[node_id]
            self._ip(
                "bridge",
                [
                    f"link add p{number} type veth peer name eth0 netns {holder.pid}",
                    f"link set p{number} master br0 up",
                ],
            )
            self._ip(
                node_id,
                [
                    "link set lo up",
                    f"link set eth0 address {self._hardware(node_id)}",
                    f"address add {self._address(node_id)}/24 dev eth0",
                    "link set eth0 up",
                    *(self._neighbour(other, self._hardware(other)) for other in nodes if other != node_id),
                ],
            )
            node.wrapper = [_path("nsenter"), f"--net=/proc/{holder.pid}/ns/net", *node.wrapper]

    def change(self, links: Collection[Pair], condition: Condition) -> None:
        """Cut or open these links; all else stays.

        Raises:
            ClusterError: Anything but cut and open is asked for.
        """
        if condition not in (Condition(), Condition(Mode.CUT)):
            raise ClusterError("links between namespaces can only be cut or open", code="links_limited")
        is_cut = condition.mode is Mode.CUT
        by_source: dict[str, list[str]] = {}
        for source, target in links:
            if ((source, target) in self._cut) is not is_cut:
                hardware = _NOBODY if is_cut else self._hardware(target)
                by_source.setdefault(source, []).append(self._neighbour(target, hardware))
        for source, lines in by_source.items():
            self._ip(source, lines)
        self._cut = self._cut | set(links) if is_cut else self._cut - set(links)

    def heal(self) -> None:
        """Open all links."""
        self.change(tuple(self._cut), Condition())

    def close(self) -> None:
        """End the holders; the kernel removes the rest when the nodes are gone too."""
        for holder in self._holders.values():
            holder.kill()

    def _hold(self) -> ChildProcess:
        holder = ChildProcess([_path("unshare"), "--net", _path("sleep"), _HOLD_S], self._log)
        own = Path("/proc/self/ns/net").stat().st_ino

        def is_apart() -> bool:
            if not holder.is_running:
                raise ClusterError(f"no namespace can be made: {holder.log()}", code="namespaces_missing")
            return Path(f"/proc/{holder.pid}/ns/net").stat().st_ino != own

        wait_for(is_apart, holder.log)
        return holder

    def _ip(self, name: str, lines: Collection[str]) -> None:
        command = [_path("nsenter"), f"--net=/proc/{self._holders[name].pid}/ns/net", _path("ip"), "-batch", "-"]
        done = subprocess.run(  # noqa: S603 - our own words only
            command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"`ip` failed in the namespace of {name}: {done.stderr.strip()}", code="ip_failed")

    def _neighbour(self, node_id: str, hardware: str) -> str:
        return f"neighbour replace {self._address(node_id)} lladdr {hardware} dev eth0 nud permanent"

    def _address(self, node_id: str) -> str:
        return f"{_SUBNET}.{self._numbers[node_id]}"

    def _hardware(self, node_id: str) -> str:
        return f"02:00:00:00:00:{self._numbers[node_id]:02x}"


def _path(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ClusterError(f"`{program}` is not installed", code="program_missing")
    return found
