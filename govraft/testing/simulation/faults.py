"""What each kind of fault does. The plan says when, to whom and for how long; here it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.core.model.units import NS_PER_MS
from govraft.testing.history import FaultEnded, FaultStarted
from govraft.testing.simulation.clients import Clients
from govraft.testing.simulation.command_faults import CommandFaults
from govraft.testing.simulation.disk import VirtualDisk
from govraft.testing.simulation.forged_frames import ForgedFrames
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.link_faults import End, LinkFaults
from govraft.testing.simulation.member_faults import MemberFaults
from govraft.testing.simulation.misbehaviour import LIES, LIES_AT_START
from govraft.testing.simulation.plan import Fault, stream
from govraft.testing.simulation.registrar import Registrar
from govraft.testing.simulation.script import Script

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["CRASH_POINTS", "FaultMachine"]

CRASH_POINTS = (
    "crash_before_turn",
    "crash_before_write",
    "crash_in_write",
    "crash_after_write",
    "crash_between_sends",
    "crash_before_answers",
    "crash_in_snapshot",
)
DAMAGES = ("journal entry", "leaf", "hard state", "cosigner record", "identity")


def _nothing() -> None:
    """A fault that ends by itself."""


class FaultMachine:
    """Carries out the faults of a plan.

    Attributes:
        counts: How often each kind has really happened.
    """

    def __init__(self, world: World, registrar: Registrar, clients: Clients) -> None:
        self._world, self.registrar = world, registrar
        self._network, self._hosts = world.network, world.hosts
        self._is_over = False
        self._ends: dict[int, End] = {}
        self.counts: dict[str, int] = {}
        self._starts: dict[str, Callable[[Fault], End | None]] = {
            "wall_step": self._wall_step,
            "wall_wrong": self._wall_wrong,
            "rate_change": self._rate_change,
            "pause": self._pause,
            "long_pause": self._pause,
            "suspend": self._suspend,
            "crash": self._crash,
            "restart": self._crash,
            "rolling_restart": self._rolling_restart,
            "cold_restart": self._cold_restart,
            "power_loss": self._power_loss,
            "restart_around": self._restart_around,
            "crash_in_start": self._crash_in_start,
            "disk_full": self._disk_fails,
            "fsync_error": self._disk_fails,
            "slow_disk": self._slow_disk,
            "bit_rot": self._bit_rot,
            "snapshot_rot": self._snapshot_rot,
            "lost_store": self._lost_store,
        }
        self._links = LinkFaults(world, self.strike, self._is_on)
        self._starts |= self._links.starts
        self._starts |= ForgedFrames(world, self._is_on).starts
        self._starts |= dict.fromkeys(CRASH_POINTS, self._arm)
        self._starts |= dict.fromkeys(LIES, self._lie)
        self._starts |= CommandFaults(world, clients, self._links.isolate).starts
        members = MemberFaults(world, registrar, self.strike, self._links.partition, self._start_again)
        self._starts |= members.starts
        if world.adversary is not None:
            script = Script(world, world.adversary, self.strike, self._links.partition)
            self._starts |= script.starts

    def begin(self) -> None:
        """Put all faults on the agenda."""
        if self._world.plan.configuration.spares:
            self.registrar.begin()
        for fault in self._world.plan.faults:
            self._world.agenda.after(fault.at_ms * NS_PER_MS, self._start, fault)

    def heal(self) -> None:
        """End everything, and start whoever is down, but for those whose store is damaged."""
        for number in sorted(self._ends):
            self._end(number)
        self._is_over = True
        self._world.on_append.clear()
        self._world.on_sign.clear()
        self._world.on_change.clear()
        self.registrar.close()
        for host in self._hosts.values():
            host.armed.clear()
            host.disk.failure = ""
            if host.disk.is_snapshot_rotten:
                host.disk.remove_snapshot()
            host.extra_write_ms = 0
            host.clock.wall_step_ms = 0
            if self._world.plan.configuration.clocks == "beyond":
                host.clock.set_rate(1.0)
            host.resume()
        self._network.calm()
        members = {member.id for member in self.registrar.electorate.members}
        for host in self._hosts.values():
            # Whoever was given up before it was removed is brought back: nobody promises anything without a quorum.
            host.is_dead = host.is_dead and host.name not in members
            host.start()
        if self._world.adversary is not None:
            honest = [name for name in self._hosts if name not in self._world.distrusted]
            self._world.adversary.settle(honest)

    def is_level(self, hosts: list[Host]) -> bool:
        """Whether all of these serve the newest effective state, and nothing waits."""
        seqs = set()
        for host in hosts:
            if host.core is None or host.core.gate.standing().lease is None or not host.is_idle:
                return False
            seqs.add(host.core.machine.seq)
        return len(seqs) <= 1 and min(seqs, default=0) >= self._world.watcher.certified_seq

    # Bookkeeping.

    def _start(self, fault: Fault) -> None:
        if self._is_over:
            return
        end = self._starts[fault.kind](fault)
        if end is not None:
            self.strike(fault, fault.nodes, end)

    def strike(self, fault: Fault, nodes: tuple[str, ...], end: End) -> None:
        """Note that a fault has begun, and plan its end."""
        if self._is_over:
            end()
            return
        self._happened(fault, nodes)
        self._ends[fault.number] = end
        self._world.agenda.after(fault.for_ms * NS_PER_MS, self._end, fault.number)

    def _is_on(self, fault: Fault) -> bool:
        return not self._is_over and fault.number in self._ends

    def _happened(self, fault: Fault, nodes: tuple[str, ...]) -> None:
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        now = self._world.now
        self._world.history.append(FaultStarted(now, fault.number, fault.kind, nodes, str(fault.amount)))
        self._world.trace.note(now, f"fault {fault.number} {fault.kind}", ",".join(nodes))

    def _end(self, number: int) -> None:
        end = self._ends.pop(number, None)
        if end is not None:
            self._world.trace.note(self._world.now, f"fault {number} ends", "")
            self._world.history.append(FaultEnded(self._world.now, number))
            end()

    def _start_again(self, *names: str) -> End:
        def start() -> None:
            for name in names:
                host = self._hosts[name]
                host.armed.clear()
                if not host.disk.damage and not host.disk.failure:
                    host.start()

        return start

    # Clocks.

    def _wall_step(self, fault: Fault) -> End | None:
        clock = self._hosts[fault.nodes[0]].clock
        if clock.wall_step_ms:
            return None
        clock.wall_step_ms = fault.amount
        return lambda: setattr(clock, "wall_step_ms", 0)

    def _wall_wrong(self, fault: Fault) -> End | None:
        """Set one clock wrong for long; behind, where it could not be the only one that vouches for an entry's time.

        A majority that was ahead and is right again waits until its newest entry is no longer in the future: that is
        promised, and longer than any run.
        """
        host, configuration = self._hosts[fault.nodes[0]], self._world.plan.configuration
        if any(other.clock.wall_step_ms for other in self._hosts.values()):
            return None
        is_one_of_many = configuration.voters >= 3 and configuration.profile != "membership"
        host.clock.wall_step_ms = fault.amount if is_one_of_many and fault.amount % 2 else -fault.amount
        return lambda: setattr(host.clock, "wall_step_ms", 0)

    def _rate_change(self, fault: Fault) -> End | None:
        """Another rate within the bounds of the seed."""
        configuration = self._world.plan.configuration
        if configuration.clocks == "beyond":
            return None
        middle = configuration.wall_rate
        rate = middle * (1 + configuration.drift_ppm / 1_000_000 * fault.amount / 100)
        self._hosts[fault.nodes[0]].clock.set_rate(rate)
        return _nothing

    def _pause(self, fault: Fault) -> End | None:
        host = self._hosts[fault.nodes[0]]
        if host.core is None or host.is_paused:
            return None
        host.pause()
        return host.resume

    def _suspend(self, fault: Fault) -> End | None:
        """The whole machine sleeps: its boot-time clock goes on, its links do not."""
        unblock = self._links.isolate(fault, fault.nodes[0])
        resume = self._pause(fault)

        def end() -> None:
            if resume is not None:
                resume()
            if unblock is not None:
                unblock()

        return end

    # Processes.

    def _crash(self, fault: Fault) -> End | None:
        host = self._hosts[fault.nodes[0]]
        if host.core is None:
            return None
        host.crash(lands=fault.amount == 1)
        return self._start_again(host.name)

    def _rolling_restart(self, fault: Fault) -> End | None:
        names = list(self._hosts)
        step = max(1, fault.for_ms // (len(names) + 1))
        for place, name in enumerate(names):
            self._world.agenda.after(place * step * NS_PER_MS, self._crash_if_running, name)
            restart = self._start_again(name)
            self._world.agenda.after((place * step + step // 2) * NS_PER_MS, restart)
        return self._start_again(*names)

    def _crash_if_running(self, name: str) -> None:
        if not self._is_over:
            self._hosts[name].crash()

    def _cold_restart(self, fault: Fault) -> End | None:
        for host in self._hosts.values():
            host.crash(lands=fault.amount == 1)
        return self._start_again(*self._hosts)

    def _restart_around(self, fault: Fault) -> End | None:
        """One node is cut off with what it was granted; all who granted it are restarted, and remember nothing."""
        end = self._links.isolate(fault, fault.nodes[0])
        if end is None:
            return None
        others = [host for host in self._hosts.values() if host.name not in fault.nodes]
        for host in others:
            host.crash(lands=fault.amount == 1)
            if not host.disk.damage and not host.disk.failure:
                host.start()
        return end

    def _power_loss(self, fault: Fault) -> End | None:
        """Several machines at once; of the batches under way each is there whole or not at all."""
        rng = stream(fault.salt, "power")
        for name in fault.nodes:
            self._hosts[name].crash(lands=rng.random() < 0.5)
        return self._start_again(*fault.nodes)

    def _arm(self, fault: Fault) -> End | None:
        """The node dies when it next passes the point; it is started again when the fault ends."""
        host = self._hosts[fault.nodes[0]]
        if host.core is None or fault.kind in host.armed:
            return None
        passes = fault.amount if fault.kind in ("crash_between_sends", "crash_in_write", "crash_in_snapshot") else 0
        host.armed[fault.kind] = passes
        return self._start_again(host.name)

    def _crash_in_start(self, fault: Fault) -> End | None:
        host = self._hosts[fault.nodes[0]]
        if host.core is None:
            return None
        host.crash()
        host.armed["crash_in_start"] = fault.amount - 1
        host.start()
        return self._start_again(host.name)

    # Lies.

    def _lie(self, fault: Fault) -> End | None:
        """The engine of a node begins to lie; where the lie is about what it remembers, it is restarted for it."""
        host = self._hosts[fault.nodes[0]]
        liar = self._world.liars[host.name]
        if host.core is None or fault.kind in liar.lies:
            return None
        self._world.distrusted.add(host.name)
        liar.lies.append(fault.kind)
        liar.suffix = max(1, fault.amount)
        if fault.kind in LIES_AT_START:
            host.crash(lands=fault.salt % 2 == 0)
            host.start()
        again = [host.name]
        leader = self._world.leader
        if fault.kind == "vote_twice" and leader is not None and leader is not host:
            # Without an election there is nothing to vote for.
            leader.crash()
            again.append(leader.name)
        start = self._start_again(*again)

        def end() -> None:
            if fault.kind in liar.lies:
                liar.lies.remove(fault.kind)
            start()

        return end

    # Disks.

    def _disk_fails(self, fault: Fault) -> End | None:
        host = self._hosts[fault.nodes[0]]
        if host.disk.failure:
            return None
        host.disk.failure = "no space left on device" if fault.kind == "disk_full" else "input/output error in fsync"
        host.disk.failed_write_lands = fault.kind == "fsync_error" and fault.amount == 1
        restart = self._start_again(host.name)

        def end() -> None:
            host.disk.failure = ""
            restart()

        return end

    def _slow_disk(self, fault: Fault) -> End | None:
        host = self._hosts[fault.nodes[0]]
        host.extra_write_ms = fault.amount
        return lambda: setattr(host, "extra_write_ms", 0)

    def _snapshot_rot(self, fault: Fault) -> End | None:
        """The node refuses a snapshot of which one bit is wrong; without it, it replays its journal."""
        host = self._hosts[fault.nodes[0]]
        if host.core is None or not host.disk.rot_snapshot(fault.salt):
            return None
        host.crash()
        host.start()
        restart = self._start_again(host.name)

        def end() -> None:
            host.disk.remove_snapshot()
            restart()

        return end

    def _can_be_spared(self, host: Host) -> bool:
        """Whether the cluster lives on if this node never comes back."""
        electorate = self._world.cast.genesis.electorate()
        voters = {member.id for member in electorate.voters}
        gone = sum(
            1 for other in self._hosts.values() if (other.disk.damage or other.has_lost) and other.name in voters
        )
        needed = max(electorate.quorum_count, len(voters) // 2 + 1)
        return not host.disk.damage and not host.has_lost and (host.name not in voters or len(voters) - gone > needed)

    def _lost_store(self, fault: Fault) -> End | None:
        """An empty store in the place of a lost one. The node may be mute for good, or go on from what others tell."""
        host = self._hosts[fault.nodes[0]]
        if self._world.plan.configuration.voters == 1 or not self._can_be_spared(host):
            return None
        host.crash()
        host.disk = VirtualDisk(late=True)
        host.has_lost, host.installs = True, host.installs + 1
        self._world.watcher.lost(host)
        host.start()
        others = [name for name in self._hosts if name != host.name] if fault.amount else []
        for name in others:
            # They forget the acks that they saw.
            self._hosts[name].crash()
            self._start_again(name)()
        return self._start_again(host.name, *others)

    def _bit_rot(self, fault: Fault) -> End | None:
        """A damaged store stays so: the node never comes back. Never more of them than the cluster can spare."""
        host = self._hosts[fault.nodes[0]]
        if not self._can_be_spared(host):
            return None
        host.disk.damage = DAMAGES[fault.amount % len(DAMAGES)]
        host.crash()
        host.start()
        return _nothing
