"""The composition root: the only place that builds adapters and puts a node together.

Order of a start: configuration and genesis (checked whole) → key → store (checked whole) → replay → sockets. A node
that does not like what it finds says so and stops before anything listens. Order of a stop: client socket → network →
last write → store.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
import uvloop

from govraft.adapters.cedar_parser import ParserUnavailableError, PolicyParser
from govraft.adapters.clocks import SystemClock
from govraft.adapters.decision_log import DecisionLogFile
from govraft.adapters.descriptors import clients_max, raise_limit
from govraft.adapters.engine.sequencer import PysyncobjSequencer
from govraft.adapters.engine.timing import EngineTiming
from govraft.adapters.garbage import spare_long_lived_objects
from govraft.adapters.log_output import LogOutput
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_network import PeerNetwork
from govraft.adapters.service_manager import ServiceManager
from govraft.adapters.sqlite_store import SqliteStore, read_leaves
from govraft.adapters.storage_status import StorageStatus
from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_office import SocketLimits
from govraft.api.socket_server import SocketServer
from govraft.core.convergence.cosigner import FormerKey
from govraft.core.crypto.keys import verify
from govraft.core.crypto.verification_cache import VerificationCache
from govraft.core.model.electorate import Member
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, CorruptionError, GovraftError, InvariantViolation, StorageError
from govraft.node.anchoring import Anchoring
from govraft.node.config import Address, NodeConfig, parse_address
from govraft.node.core import NodeCore, NodeSettings
from govraft.node.decision_keeper import DecisionKeeper
from govraft.node.decisions import DecisionBuffer
from govraft.node.runtime import NodeRuntime
from govraft.node.service import NodeService
from govraft.ports.sequencer import JournalOp, Sequencer
from govraft.ports.store import HardState, JournalEntry
from govraft.startup import load_former_identity, load_node_files

__all__ = ["EXIT_HALTED", "rehearse", "run"]

EXIT_HALTED = 3
PARSE_TIMEOUT_S = 20.0
_STDOUT = 1

_log = structlog.get_logger()


def run(config_path: Path) -> int:
    """Run one node until SIGTERM or SIGINT.

    Returns:
        0 after an orderly stop, 3 if the node halted or its store cannot be used.

    Raises:
        ConfigError: The configuration, genesis or key cannot be used; nothing was opened.
    """
    # Python has found descriptor 1 closed if it made no `sys.stdout`.
    log = LogOutput(None if sys.stdout is None else _STDOUT)
    with log.in_use():
        # SAFETY: its default would end the node at once, in the middle of anything
        # (test_log_and_signals.py::test_a_hangup_ends_no_node).
        before = signal.signal(signal.SIGHUP, _on_hangup)
        try:
            return _run(config_path, log)
        finally:
            signal.signal(signal.SIGHUP, before)


def _on_hangup(number: int, frame: object) -> None:
    del number, frame
    _log.info("nothing to reload", signal="SIGHUP")


def _run(config_path: Path, log: LogOutput) -> int:
    config, genesis, identity = load_node_files(config_path, to_run=True)
    spare_long_lived_objects()
    raise_limit()
    try:
        # A missing directory is not made: it would hide that a volume is not mounted or a path is wrong
        # (test_missing_store.py::test_a_node_without_a_store_makes_nothing).
        store = SqliteStore(config.database, cluster_id=genesis.cluster_id, node_id=config.node_id, may_create=False)
    except StorageError as error:
        _refuse(config_path, error)
        return EXIT_HALTED
    try:
        _make_socket_directory(config)
        return uvloop.run(_Daemon(config, genesis, identity, store).run(log))
    except (CorruptionError, StorageError) as error:
        _refuse(config_path, error)
        return EXIT_HALTED
    except InvariantViolation as violation:
        _log.critical("invariant violated", error=str(violation))
        return EXIT_HALTED
    finally:
        store.close()


def rehearse(config_path: Path, database: Path) -> None:
    """Do all that a start does before anything listens, on `database`, which is written to: give a copy.

    Raises:
        ConfigError: The configuration, genesis or key cannot be used.
        StorageError: The node would not start, and why.
    """
    config, genesis, identity = load_node_files(config_path, to_run=True)
    store = SqliteStore(database, cluster_id=genesis.cluster_id, node_id=config.node_id, may_create=False)
    try:
        _Daemon(config, genesis, identity, store).rehearse()
    finally:
        store.close()


def _refuse(config_path: Path, error: StorageError) -> None:
    next_step = f"govraft-node check-store --config {shlex.quote(str(config_path))}"
    _log.critical("store refused", error=str(error), code=error.code, next=f"restore no copy; run `{next_step}`")


def _make_socket_directory(config: NodeConfig) -> None:
    try:
        config.socket_path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        message = f"`{error.filename}`: {error.strerror}"
        raise ConfigError(message, file=str(config.file), key="listen.socket") from error


class _Daemon:
    """One node's adapters, for the time of one run."""

    def __init__(self, config: NodeConfig, genesis: Genesis, identity: NodeIdentity, store: SqliteStore) -> None:
        self._config = config
        self._genesis = genesis
        self._identity = identity
        self._store = store
        self._clock = SystemClock()
        self._stopped = asyncio.Event()
        self._cause: BaseException | None = None
        self._parser = PolicyParser(PARSE_TIMEOUT_S)

    async def run(self, log: LogOutput) -> int:
        """Start, wait for a signal or a halt, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        core = self._build_core()
        decisions = self._build_decisions()
        runtime = NodeRuntime(
            core=core,
            store=self._store,
            clock=self._clock,
            node_id=self._config.node_id,
            sync_wait_ms=self._config.profile.sync_wait_ms,
            on_halt=self._on_halt,
            decisions=decisions,
        )
        network = self._build_network(runtime)
        server = self._build_server(runtime, decisions, log)
        anchoring = self._build_anchoring(runtime, decisions)
        manager = ServiceManager()
        testing = loop.create_task(self._test_parser())
        try:
            await decisions.start()
            await network.start()
            runtime.start(network)
            await server.start()
            anchoring.start()
        except OSError as error:
            host, port = self._config.peer_listen
            message = f"cannot listen on `{host}:{port}` or `{self._config.socket_path}`: {error.strerror}"
            raise ConfigError(message, file=str(self._config.file), key="listen") from error
        except GovraftError as error:
            raise ConfigError(str(error), file=str(self._config.file), key="listen.socket") from error
        else:
            _log.info("node started", node=self._config.node_id, cluster=self._genesis.cluster_id, seq=core.machine.seq)
            if core.epochs.absence:
                _log.warning("node denies everything", why=core.epochs.absence)
            if core.convergence.cosigner.is_late:
                _log.warning("store is late", next="it asks the other voters what they acked; see `govraft status`")
            manager.tell("READY=1")
            manager.begin_watchdog()
            await self._stopped.wait()
        finally:
            manager.tell("STOPPING=1")
            testing.cancel()
            await server.stop()
            await anchoring.stop()
            await decisions.stop()
            await network.stop()
            await runtime.stop()
            await asyncio.gather(testing, return_exceptions=True)
            manager.end_watchdog()
        if self._cause is not None:
            _log.critical("node halted", cause=f"{type(self._cause).__name__}: {self._cause}")
            return EXIT_HALTED
        _log.info("node stopped", node=self._config.node_id)
        return 0

    def rehearse(self) -> None:
        """Replay what is stored, and send nothing."""
        self._build_core()

    async def _test_parser(self) -> None:
        """Beside the start, which does not need it: so that what is wrong with this host is not found by an author."""
        try:
            await self._parser.test()
        except ParserUnavailableError as error:
            _log.error("policies and entities cannot be submitted here", why=str(error))

    def _on_halt(self, cause: BaseException) -> None:
        self._cause = cause
        self._stopped.set()

    def _build_core(self) -> NodeCore:
        settings = NodeSettings(
            node_id=self._config.node_id,
            public_key=self._identity.public_key,
            heartbeat_ms=self._config.profile.heartbeat_ms,
            life=secrets.token_hex(6),
            snapshot_entries=self._config.snapshot_entries,
            window_entries=self._config.window_entries,
        )
        is_valid = VerificationCache(verify)
        former = load_former_identity(self._config)

        def signing(message: bytes) -> bytes:
            signature = self._identity.sign(message)
            is_valid.remember(self._identity.public_key, signature, message)
            return signature

        return NodeCore(
            settings=settings,
            genesis=self._genesis,
            stored=self._store.load(),
            signing=signing,
            is_valid=is_valid,
            clock=self._clock,
            entropy=secrets.token_bytes,
            make_sequencer=self._make_sequencer,
            former=None if former is None else FormerKey(former.public_key, former.sign),
        )

    def _make_sequencer(
        self,
        *,
        voters: Sequence[str],
        observers: Sequence[str],
        epoch: int,
        state_epoch: Callable[[], int],
        journal: Sequence[JournalEntry],
        hard_state: HardState,
        applied: int,
        window_entries: int,
        send: Callable[[str, bytes], None],
        record: Callable[[JournalOp], None],
        on_commit: Callable[[int, int, bytes], None],
        welcome: Callable[[bytes], bool],
    ) -> Sequencer:
        profile = self._config.profile
        return PysyncobjSequencer(
            node_id=self._config.node_id,
            voters=voters,
            observers=observers,
            epoch=epoch,
            state_epoch=state_epoch,
            journal=journal,
            hard_state=hard_state,
            applied=applied,
            read_journal=self._store.read_journal,
            window_entries=window_entries,
            timing=EngineTiming(
                heartbeat_s=profile.heartbeat_ms / 1000,
                election_min_s=profile.election_min_ms / 1000,
                election_max_s=profile.election_max_ms / 1000,
                lease_s=self._genesis.lease_ms / 1000,
            ),
            monotonic=lambda: self._clock.boottime() / 1e9,
            rng=random.Random(secrets.randbits(128)),  # noqa: S311 - spreads time-outs, guards nothing
            send=send,
            record=record,
            on_commit=on_commit,
            welcome=welcome,
        )

    def _build_network(self, runtime: NodeRuntime) -> PeerNetwork:
        return PeerNetwork(
            node_id=self._config.node_id,
            cluster_id=self._genesis.cluster_id,
            members=runtime.core.pinned_members,
            identity=self._identity,
            listen=self._config.peer_listen,
            address_of=self._address_of,
            on_frame=runtime.on_frame,
            on_link=runtime.on_link,
            rng=random.Random(secrets.randbits(128)),  # noqa: S311 - spreads reconnects, guards nothing
            on_fault=runtime.halt,
        )

    def _address_of(self, member: Member) -> Address | None:
        own = self._config.peer_addresses.get(member.id)
        if own is not None:
            return own
        try:
            return parse_address(member.address, file=str(self._config.file), key=f"peers.{member.id}")
        except ConfigError as error:
            _log.error("member cannot be dialled", member=member.id, error=str(error))
            return None

    def _build_decisions(self) -> DecisionKeeper:
        config = self._config
        store = DecisionLogFile(
            config.decision_log, cluster=self._genesis.cluster_id, node=config.node_id, masks=config.decision_masks
        )
        return DecisionKeeper(
            store=store,
            buffer=DecisionBuffer(config.decision_mode, config.node_id),
            clock=self._clock,
            node=config.node_id,
            report=lambda text: _log.error("decision log", error=text),
        )

    def _build_anchoring(self, runtime: NodeRuntime, decisions: DecisionKeeper) -> Anchoring:
        return Anchoring(
            keeper=decisions,
            machine=runtime.core.machine,
            node=self._config.node_id,
            signer=self._identity,
            clock=self._clock,
            submit=lambda envelope, timeout_ms: runtime.submit(envelope, wait="effective", timeout_ms=timeout_ms),
            period_s=self._config.anchor_s,
            report=lambda text: _log.error("decision log", error=text),
        )

    def _build_server(self, runtime: NodeRuntime, decisions: DecisionKeeper, log: LogOutput) -> SocketServer:
        config = self._config
        database = config.database
        storage = StorageStatus(database, unsafe_volatile=config.unsafe_volatile)
        service = NodeService(
            runtime=runtime,
            node_id=config.node_id,
            clock=self._clock,
            examine=self._parser.examine,
            read_leaves=lambda first, last: _stored_leaves(database, first, last),
            database=database,
            decisions=decisions,
            process_status=lambda: {
                "log_lost": log.lost,
                "policy_parser": self._parser.condition,
                "storage": storage(),
            },
        )
        return SocketServer(
            service,
            path=config.socket_path,
            rules=PeerRules(config.allowed_uids | {os.getuid(), 0}, config.allowed_gids),
            node=config.node_id,
            cluster=self._genesis.cluster_id,
            on_error=lambda error: _log.error("unexpected error", error=repr(error)),
            on_violation=runtime.halt,
            on_denial=decisions.note_denial,
            group=config.socket_gid,
            limits=SocketLimits(clients=clients_max()),
        )


async def _stored_leaves(database: Path, first: int, last: int) -> list[bytes]:
    return await asyncio.get_running_loop().run_in_executor(None, read_leaves, database, first, last)
