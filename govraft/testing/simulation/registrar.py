"""Who runs the cluster: it changes the electorate, and sets nodes up, replaces their keys and gives machines up.

Each undertaking is a generator that goes on step by step, so that faults, other commands and other undertakings come in
between. A step is a command, handed in again and again until it is effective or refused, or a wait for the nodes.

==============  =======================================================================================================
undertaking     steps
==============  =======================================================================================================
`join`          set a spare node up, add it, wait until it keeps up, promote it
`observe`       set a spare node up, add it
`leave`         remove a member, whose node goes on running
`rotate`        give a member another key; its node starts again with it, on the store that it has
`replace`       one machine is gone for good: another node joins, the dead one is removed
`evict`         remove a member with proof that it signed two roots
`without`       machines are gone for good; try to remove one that the others need, then remove those that are gone
==============  =======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from govraft.core.lineage.leaf import Leaf
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.outcome import Applied
from govraft.core.model.units import NS_PER_MS
from govraft.errors import GovraftError, RejectedError
from govraft.testing.simulation import workload_members as members
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.plan import Submission, stream
from govraft.testing.simulation.workload import NODE_KEY_GENERATIONS, Drawn, Stage

if TYPE_CHECKING:
    from govraft.testing.simulation.clients import Clients
    from govraft.testing.simulation.world import World

__all__ = ["Registrar", "Undertaking"]

Undertaking = Generator[None, None, bool]
"""Goes on at each `next`; returns whether it came to its end."""

STEP_MS = 40
COMMAND_MS = 6_000
PATIENCE_MS = 2_500
SYNC_MS = 8_000
PAUSE_MS = 200
AT_ONCE = 2
STUCK_MS = 3_000
"""A change that waits for its certificate for longer is looked after: nodes whose keys it changes start with them."""
_OVER = object()


class Registrar:
    """Of one run.

    Attributes:
        under_way: Undertakings that go on, by a number.
        done: How many changes of the electorate were effective, by kind of command.
    """

    def __init__(self, world: World, clients: Clients) -> None:
        self._world, self._clients = world, clients
        self._rng = stream(world.plan.configuration.seed, "registrar")
        self._commands = 0
        self._stuck_since: int | None = None
        self._is_closed = False
        self.under_way: list[Undertaking] = []
        self.done: dict[str, int] = {}

    def begin(self) -> None:
        """Be there."""
        self._world.agenda.after(STEP_MS * NS_PER_MS, self._step)

    def close(self) -> None:
        """Begin nothing more, and give up what goes on."""
        self._is_closed = True
        self.under_way.clear()

    def undertake(self, undertaking: Undertaking | None) -> bool:
        """Begin something, unless there is too much to do. Whether it was begun."""
        if undertaking is None or self._is_closed or len(self.under_way) >= AT_ONCE:
            return False
        self.under_way.append(undertaking)
        return True

    def _step(self) -> None:
        for undertaking in list(self.under_way):
            if undertaking in self.under_way and next(undertaking, _OVER) is _OVER:
                self.under_way.remove(undertaking)
        self.tidy()
        if not self._is_closed:
            self._world.agenda.after(STEP_MS * NS_PER_MS, self._step)

    def tidy(self) -> None:
        """Set each member up whose node is not, start each under its key, and tell whoever would reach nobody."""
        for member in self._to_be_run().members:
            host = self._world.hosts[member.id]
            generation = self._generation_of(member)
            if generation is None or (host.is_dead and generation == host.generation):
                continue
            if not host.is_enlisted or (host.is_dead and not member.voter):
                host.enlist(generation, self._epochs())
            elif generation != host.generation:
                # A voter that lost its store may not come back under any key.
                host.is_dead = False
                host.rekey(generation)
            elif self._is_stranded(host):
                host.learn(self._epochs())

    def _is_stranded(self, host: Host) -> bool:
        """Whether a running node, away for long, knows no present member but itself, by its key."""
        if host.core is None:
            return False
        others = {member.public_key for member in self.electorate.members if member.id != host.name}
        return bool(others) and others.isdisjoint(member.public_key for member in host.core.pinned_members)

    def _to_be_run(self) -> Electorate:
        """The certified electorate; after a while the one that waits, perhaps for an ack by a new key."""
        newest = self._newest()
        if newest.epoch == self.electorate.epoch:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = self._world.now
        elif self._world.now - self._stuck_since >= STUCK_MS * NS_PER_MS:
            return newest
        return self.electorate

    # What everybody knows.

    @property
    def electorate(self) -> Electorate:
        """The newest certified one."""
        return self._world.watcher.chain.newest

    def spare(self) -> str | None:
        """A node that is no member, and whose removal is certified: until then its store may be needed."""
        present = {member.id for electorate in (self._newest(), self.electorate) for member in electorate.members}
        free = [name for name in self._world.cast.names if name not in present]
        return self._rng.choice(free) if free else None

    def voter(self) -> str:
        """Any voter."""
        return self._rng.choice([voter.id for voter in self._newest().voters])

    def observer(self) -> str | None:
        """Any observer."""
        found = [member.id for member in self._newest().members if not member.voter]
        return self._rng.choice(found) if found else None

    def _newest(self) -> Electorate:
        """As anybody holds it who runs, certified or not."""
        known = [host.core.machine.electorate for host in self._world.hosts.values() if host.core is not None]
        return max([*known, self.electorate], key=lambda electorate: electorate.epoch)

    def _generation_of(self, member: Member) -> int | None:
        keys = (self._world.cast.public_key(member.id, generation) for generation in range(NODE_KEY_GENERATIONS))
        return next((generation for generation, key in enumerate(keys) if key == member.public_key), None)

    def _next_generation(self, name: str) -> int | None:
        """Of a key that nobody has seen yet; None when all are used up."""
        host = self._world.hosts[name]
        generation = host.generation + 1 if host.is_enlisted else 0
        return generation if generation < NODE_KEY_GENERATIONS else None

    def _epochs(self) -> list[Any]:
        """The longest chain of epochs on a running member's disk: from it a new store is made."""
        running = [host for host in self._world.hosts.values() if host.core is not None]
        return max((list(host.disk.epochs) for host in running), key=len, default=[])

    # Steps.

    def _next_command(self) -> str:
        self._commands += 1
        return f"member-{self._commands}"

    def _command(self, kind: str, draw: Callable[[Stage], Drawn | None], name: str = "") -> Undertaking:
        """Hand a command in until it is effective."""
        name = name or self._next_command()
        deadline = self._world.now + COMMAND_MS * NS_PER_MS
        while self._world.now < deadline:
            host = self._pick()
            envelope = None
            if host is not None and host.core is not None:
                envelope = self._clients.book.by(name, lambda _rng, stage: draw(stage), host.core.machine, self._rng)
            if host is None or envelope is None:
                yield
                continue
            answers: list[dict[str, Any] | GovraftError] = []
            item = Submission(0, host.name, kind, "", name, PATIENCE_MS)
            self._clients.hand_in(item, envelope, answers.append)
            while not answers:
                yield
            if isinstance(answers[0], dict):
                self.done[kind] = self.done.get(kind, 0) + 1
                return True
            if isinstance(answers[0], RejectedError) and answers[0].definite:
                return False
            yield from self._wait(PAUSE_MS)
        return False

    def _pick(self) -> Host | None:
        """A running member, mostly the leader."""
        leader = self._world.leader
        if leader is not None and self._rng.random() < 0.6:
            return leader
        hosts = [self._world.hosts[member.id] for member in self.electorate.members]
        running = [host for host in hosts if host.core is not None and not host.is_paused]
        return self._rng.choice(running) if running else None

    def _wait(self, ms: int) -> Undertaking:
        until = self._world.now + ms * NS_PER_MS
        while self._world.now < until:
            yield
        return True

    def _until_synced(self, name: str) -> Undertaking:
        deadline = self._world.now + SYNC_MS * NS_PER_MS
        while self._world.now < deadline:
            core = self._world.hosts[name].core
            if core is not None and core.gate.standing().lease is not None:
                return True
            yield
        return False

    # Undertakings.

    def observe(self, name: str) -> Undertaking:
        """Set a node up and add it."""
        generation = self._next_generation(name)
        if generation is None:
            return False
        host, rows = self._world.hosts[name], self._epochs()
        if self._rng.random() < 0.5:
            host.enlist(generation, rows)
        added = yield from self._command("member.add", lambda stage: members.add(stage, name, generation))
        if added and not (host.is_enlisted and host.generation == generation):
            # Set up late: nobody waits for a node that its members have been told of.
            host.enlist(generation, self._epochs())
        return added

    def join(self, name: str) -> Undertaking:
        """As `observe`, until the node is a voter."""
        if not (yield from self.observe(name)):
            return False
        if not (yield from self._until_synced(name)):
            return False
        return (yield from self.promote(name))

    def promote(self, name: str) -> Undertaking:
        """Make an observer a voter."""
        return (yield from self._command("member.promote", lambda stage: members.promote(stage, name)))

    def leave(self, name: str) -> Undertaking:
        """Remove a member."""
        return (yield from self._command("member.remove", lambda stage: members.remove(stage, name)))

    def without(self, gone: Sequence[str], other: str) -> Undertaking:
        """Machines are gone for good; the rest is just a quorum, and is told to do without one more."""
        for name in gone:
            self._world.hosts[name].give_up()
        configuration = self._world.plan.configuration
        # Three heartbeats of silence, and a change that was judged before them may wait a lease for its turn.
        yield from self._wait(5 * configuration.heartbeat_ms + 2 * configuration.lease_ms)
        name = self._next_command()
        yield from self._command("member.remove", lambda stage: members.remove(stage, other), name)
        newest = self._newest()
        living = [voter.id for voter in newest.voters if voter.id not in gone]
        if len(living) < newest.quorum_count and newest.epoch > self.electorate.epoch and self._is_applied(name):
            detail = f"is removed: of the voters {', '.join(living)} remain, {newest.quorum_count} must certify it"
            self._world.watcher.find("change_uncertifiable", other, detail)
        for name in gone:
            yield from self.leave(name)
        spare = self.spare()
        return spare is not None and (yield from self.join(spare))

    def _is_applied(self, command_id: str) -> bool:
        """Whether some node has applied that command."""
        leaves = (Leaf.decode(row.leaf) for host in self._world.hosts.values() for row in host.disk.leaves)
        known = self._world.watcher.commands
        return any(leaf.outcome == Applied().code and known.get(leaf.entry_digest) == command_id for leaf in leaves)

    def rotate(self, name: str) -> Undertaking:
        """Give a member another key; `tidy` starts its node with it."""
        generation = self._next_generation(name)
        if generation is None:
            return False
        return (yield from self._command("member.rotate", lambda stage: members.rotate(stage, name, generation)))

    def evict(self, name: str) -> Undertaking:
        """Convict a member."""
        return (yield from self._command("member.evict", lambda stage: members.evict(stage, name)))

    def replace(self, name: str, by: str) -> Undertaking:
        """The machine of a member is gone; another one takes its place."""
        self._world.hosts[name].give_up()
        if not (yield from self.join(by)):
            return False
        return (yield from self.leave(name))

    def in_turn(self, undertakings: Sequence[Callable[[], Undertaking | None]]) -> Undertaking:
        """One after the other, each begun when its turn comes, as long as they succeed."""
        for make in undertakings:
            undertaking = make()
            if undertaking is None or not (yield from undertaking):
                return False
        return True
