"""One node on its virtual machine: what `node/runtime.py` is in production, on the simulation's agenda.

It keeps the runtime's order: whatever happens wakes the node; it settles once; its batch is written, one at a time;
then frames are sent, then clients answered. Between any two of these steps it can be made to die.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.rules import RULES_NEWEST
from govraft.core.model.units import NS_PER_MS
from govraft.core.model.verdict import Deny, Verdict
from govraft.errors import AvailabilityError, GovraftError, InvariantViolation, StorageError
from govraft.node.authorization import Authorization, Denied, Granted
from govraft.node.core import NodeCore
from govraft.node.effects import Effects
from govraft.ports.store import StoredEpoch
from govraft.testing.simulation.clock import VirtualClock
from govraft.testing.simulation.disk import VirtualDisk
from govraft.testing.simulation.installation import Installation
from govraft.testing.simulation.network import NS_PER_US

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["Host"]

Answered = Callable[[Verdict], None]
Submitted = Callable[[dict[str, Any] | GovraftError], None]


class Host(Installation):
    """One machine, through all lives of its node.

    Attributes:
        core: The node; None while it does not run.
        life: Counts its starts.
        is_paused: Whether the process stands still.
        armed: The crash point at which the node is to die, and how often it is to be passed before that.
        endings: Why earlier lives ended of themselves, or could not begin: `(code, message)`.
    """

    def __init__(self, world: World, name: str, clock: VirtualClock, rng: random.Random) -> None:
        super().__init__(world.cast, name)
        self._world, self.clock, self._rng = world, clock, rng
        self.disk = VirtualDisk()
        self.core: NodeCore | None = None
        self.life = 0
        self.is_paused = False
        self.armed: dict[str, int] = {}
        self.write_us = world.plan.configuration.write_us
        self.extra_write_ms = 0
        self.endings: list[tuple[str, str]] = []
        self._tick_ns = world.plan.configuration.tick_ms * NS_PER_MS
        self._sync_wait_ns = world.plan.configuration.sync_wait_ms * NS_PER_MS
        self._is_awake = False
        self._writing: Effects | None = None
        self._is_saving = False
        self._next_snapshot: Snapshot | None = None
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._waiting: list[tuple[Request, int, Answered]] = []
        self._pending: list[Submitted] = []

    # Lives.

    @property
    def present_life(self) -> int:
        """The number of the life that runs now, 0 for none."""
        return self.life if self.core is not None else 0

    def start(self) -> None:
        """Begin a life, unless the store refuses."""
        if self.core is not None or not self.is_enlisted or self.is_dead:
            return
        self.life += 1
        self._world.trace.note(self._world.agenda.now, "start", self.name, self.disk.image())
        try:
            stored = self.disk.load()
            self.core = self._world.make_core(self, stored)
        except StorageError as error:
            self._end("refused", error)
            return
        except InvariantViolation as error:
            self._end("halted", error)
            return
        self.pin(self.core.pinned_members)
        self._world.node_started(self)
        self._on_tick(self.life)

    def enlist(self, generation: int, epochs: Sequence[StoredEpoch]) -> None:
        """Set the node up on an empty machine, under another one of its keys."""
        self.crash()
        self.disk = VirtualDisk()
        self.disk.enlist(epochs)
        self.generation, self.is_enlisted, self.is_dead = generation, True, False
        self.installs += 1
        self.start()

    def learn(self, epochs: Sequence[StoredEpoch]) -> None:
        """Start again, told of all changes of the members by `govraft-node learn-epochs`."""
        self.crash()
        self.disk.enlist(epochs[len(self.disk.epochs) :])
        self.start()

    def rekey(self, generation: int) -> None:
        """Start again with another key, and with all that is on the disk."""
        self.crash()
        self.generation = generation
        self.start()

    def give_up(self) -> None:
        """The machine is gone, with all that was on it."""
        self.is_dead = True
        self.crash()

    def crash(self, *, lands: bool = False) -> None:
        """Kill the process. A write that is under way is lost, or lands without anybody having heard of it."""
        if self.core is None:
            return
        self._world.trace.note(self._world.agenda.now, "crash", self.name, bytes([lands]))
        writing, self._writing = self._writing, None
        if writing is not None and lands and not self.disk.failure:
            try:
                self.disk.write(writing.batch)
            except InvariantViolation as error:
                # The store refused what a lying engine wanted written; the node would have halted a moment later.
                self.endings.append(("halted", str(error)))
        self._die()

    def pause(self) -> None:
        """Let the process stand still; its clocks go on, and what arrives waits."""
        self.is_paused = self.core is not None

    def resume(self) -> None:
        """Let it go on."""
        if not self.is_paused:
            return
        self.is_paused = False
        # Whoever asks in this very moment meets the node before it has noticed how long it slept.
        self._world.watcher.look(self)
        held, self._held = self._held, []
        for call, arguments in held:
            call(*arguments)
        self._on_tick(self.life)

    # What the outside brings.

    def on_frame(self, source: str, channel: int, payload: bytes) -> None:
        """A frame arrived."""
        if self._defers(self.on_frame, source, channel, payload):
            return
        core = self.core
        if core is not None:
            self._world.trace.note(self._world.agenda.now, f"frame {source} {channel}", self.name, payload)
            if self._guarded(core.on_frame, source, channel, payload):
                self._wake()

    def on_link(self, peer: str, is_up: bool) -> None:  # noqa: FBT001 - the network's callback
        """A link changed."""
        if self._defers(self.on_link, peer, is_up):
            return
        core = self.core
        if core is not None:
            self._world.trace.note(self._world.agenda.now, f"link {peer} {int(is_up)}", self.name)
            if self._guarded(lambda: core.on_link(peer, up=is_up, rules=RULES_NEWEST)):
                self._wake()

    def check(self, request: Request, done: Answered) -> None:
        """Ask the node; `done` is called now or later, and always."""
        core = self.core
        if core is None:
            done(Deny(reason=Reason.NODE_UNREACHABLE, node=self.name))
            return
        verdict = core.check(request)
        if verdict is not None:
            done(verdict)
            return
        self._waiting.append((request, self.clock.boottime() + self._sync_wait_ns, done))

    def authorize(self, asked: Authorization, timeout_ms: int, done: Callable[[Granted | Denied], None]) -> None:
        """Want a permit; `done` is called later, or never if the node dies."""
        core = self.core
        if core is None:
            return
        try:
            core.permits.authorize(asked, timeout_ms, done)
        except GovraftError:
            return  # Too many are wanted.
        self._wake()

    def submit(self, envelope: bytes, timeout_ms: int, done: Submitted) -> None:
        """Hand in a command; `done` is called once, or when the node dies with the outcome unknown."""
        core = self.core
        if core is None:
            done(AvailabilityError("the node does not run", code="node_unreachable"))
            return
        self._pending.append(done)

        def answered(answer: dict[str, Any] | GovraftError) -> None:
            if done in self._pending:
                self._pending.remove(done)
                done(answer)

        if self._guarded(lambda: core.submit(envelope, wait="effective", timeout_ms=timeout_ms, done=answered)):
            self._wake()

    # The turn.

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._world.agenda.after(0, self._turn, self.life)

    def _on_tick(self, life: int) -> None:
        if self.core is not None and life == self.life and not self.is_paused:
            self._world.agenda.after(self._tick_ns, self._on_tick, life)
            self._wake()

    def _turn(self, life: int) -> None:
        if life != self.life or self._defers(self._turn, life):
            return
        self._is_awake = False
        core = self.core
        if core is None or self._dies_at("crash_in_start") or self._dies_at("crash_before_turn"):
            return
        self._answer_waiting()
        if self._guarded(core.settle):
            if core.epochs.waiting:
                self._world.noticed_change(self)
            self._pump()
            self._answer_waiting()
            self._world.watcher.look(self)
            if core.sequencer.has_more:
                self._wake()

    def _pump(self) -> None:
        if self.core is None or self._writing is not None:
            return
        effects = self.core.take_effects()
        if effects.batch.is_empty:
            self._release(effects)
            return
        self._world.noticed_write(self, effects)
        if self._dies_at("crash_before_write"):
            return
        self._writing = effects
        write_us = self._rng.randint(*self.write_us) + self.extra_write_ms * 1_000
        self._world.agenda.after(write_us * NS_PER_US, self._on_written, self.life, effects)
        if "crash_in_write" in self.armed:
            self._world.agenda.after(write_us * NS_PER_US // 2, self._die_in_write, self.life, effects)

    def _die_in_write(self, life: int, effects: Effects) -> None:
        if life == self.life and self._writing is effects and self.core is not None:
            amount = self.armed.get("crash_in_write", 0)
            if self._dies_at("crash_in_write", passes=0, lands=amount == 1):
                return

    def _on_written(self, life: int, effects: Effects) -> None:
        if life != self.life or self._writing is not effects or self._defers(self._on_written, life, effects):
            return
        try:
            self.disk.write(effects.batch)
        except StorageError as error:
            self._writing = None
            self._end("halted", error)
            return
        except InvariantViolation as error:
            self._writing = None
            self._end("halted", error)
            return
        self._writing = None
        self._world.trace.note(self._world.agenda.now, "write", self.name, self.disk.image())
        if self._dies_at("crash_after_write"):
            return
        self._release(effects)
        self._pump()

    def _release(self, effects: Effects) -> None:
        if effects.members is not None:
            self.pin(effects.members)
            self._world.network.members_changed(self.name)
        for send in effects.sends:
            if self.core is None or self._dies_at("crash_between_sends"):
                return
            if send.peer == self.name:
                self.on_frame(send.peer, send.channel, send.payload)
            else:
                self._world.watcher.sending(self, send)
                is_handed = self._world.network.send(self.name, send.peer, send.channel, send.payload)
                if send.told is not None:
                    send.told(is_handed)
        if effects.after and self._dies_at("crash_before_answers"):
            return
        for call in effects.after:
            if self.core is None:
                return
            call()
        if effects.snapshot is not None and self.core is not None:
            # Encoded and written while the node goes on; one at a time, a newer one replaces one that waits.
            self._next_snapshot = effects.snapshot
            self._save_snapshot()

    def _save_snapshot(self) -> None:
        snapshot, self._next_snapshot = self._next_snapshot, None
        if snapshot is None or self._is_saving:
            self._next_snapshot = snapshot
            return
        self._is_saving = True
        write_us = self._rng.randint(*self.write_us) * 3 + self.extra_write_ms * 1_000
        self._world.agenda.after(write_us * NS_PER_US, self._on_snapshot, self.life, snapshot)

    def _on_snapshot(self, life: int, snapshot: Snapshot) -> None:
        if life != self.life or self.core is None or self._defers(self._on_snapshot, life, snapshot):
            return
        if "crash_in_snapshot" in self.armed and self.armed["crash_in_snapshot"] == 0:
            self._dies_at("crash_in_snapshot")
            return
        try:
            self.disk.save_snapshot(snapshot.encode())
        except StorageError as error:
            self._end("halted", error)
            return
        self._world.snapshots += 1
        self._world.trace.note(self._world.agenda.now, f"snapshot {snapshot.seq}", self.name)
        self._is_saving = False
        if not self._dies_at("crash_in_snapshot", passes=0):
            self._save_snapshot()

    def _answer_waiting(self) -> None:
        if not self._waiting or self.core is None:
            return
        now, still = self.clock.boottime(), []
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            request, deadline, done = item
            verdict = self.core.check(request)
            if verdict is None and now >= deadline:
                verdict = self.core.deny_waiting(0)
            if verdict is None:
                still.append(item)
            else:
                done(verdict)
        self._waiting = still + self._waiting

    # Ends.

    def _dies_at(self, point: str, *, passes: int | None = None, lands: bool = False) -> bool:
        """Die here if a fault wants it so. `passes` overrides how often the point is passed before."""
        if point not in self.armed:
            return False
        left = self.armed[point] if passes is None else passes
        if left > 0:
            self.armed[point] = left - 1
            return False
        del self.armed[point]
        self._world.crashed_at(self, point)
        self.crash(lands=lands)
        return True

    def _guarded(self, call: Callable[..., object], *arguments: Any) -> bool:
        """Run a step of the core. If it raises, the node halts, as the runtime does."""
        try:
            call(*arguments)
        except (Exception, InvariantViolation) as error:  # noqa: BLE001 - whatever it is, the node halts and it is told
            self._end("halted", error)
        return self.core is not None

    def _end(self, code: str, error: BaseException) -> None:
        """Stop for good: nothing leaves any more, and whoever runs the cluster must start the node again."""
        self.endings.append((code, f"{type(error).__name__}: {error}"))
        self._world.node_ended(self, code, error)
        self._writing = None
        self._die()

    def _die(self) -> None:
        was_running = self.core is not None
        self.core, self.is_paused, self._is_awake = None, False, False
        self._is_saving, self._next_snapshot = False, None
        self._held.clear()
        waiting, self._waiting = self._waiting, []
        for _, _, done in waiting:
            done(Deny(reason=Reason.NODE_UNREACHABLE, node=self.name))
        pending, self._pending = self._pending, []
        for submitted in pending:
            message = "the node died; the outcome is not known"
            submitted(AvailabilityError(message, code="node_halted", definite=False))
        if was_running:
            self._world.node_died(self)

    def _defers(self, call: Callable[..., None], *arguments: Any) -> bool:
        if self.is_paused:
            self._held.append((call, arguments))
        return self.is_paused

    # For whoever watches.

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in this node: no write, no check, no submission."""
        return self._writing is None and not self._waiting and not self._pending
