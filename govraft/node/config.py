"""A node's configuration file: TOML, read once, checked whole before a socket opens.

Paths are relative to the file. Example::

    [node]
    id = "node-1"
    genesis = "genesis.json"
    key = "node-1.key.pem"          # PKCS#8, readable by the node's user only
    certificate = "node-1.cert.pem" # the certificate that the other members pin
    former_key = "old.key.pem"      # optional, with former_certificate: the pair that a rotation took from this node
    data_dir = "data/node-1"

    [listen]
    peer = "127.0.0.1:7101"         # mutual TLS 1.3, other members only
    socket = "run/node-1.sock"      # Unix socket for clients of this host

    [peers]                         # optional: where to dial a member, instead of the address it was added with
    node-2 = "127.0.0.1:7102"

    [timing]
    profile = "lan"                 # lan: heartbeat 100 ms, election 500-1000 ms; wan: 400 ms, 2000-4000 ms
    sync_wait_ms = 200              # how long a check may wait for the next certificate before it is denied

    [access]                        # who may connect to the socket, besides the node's own user and root
    users = ["deploy"]              # each must also be in the socket file's group
    groups = ["govraft"]            # the socket file belongs to the first one

    [storage]                       # memory and start time: no guarantee rests on these two numbers
    snapshot_entries = 10000        # applied entries between two snapshots, 100 to 10,000,000
    window_entries = 4096           # newest journal entries kept in memory, 64 to 1,000,000
    unsafe_volatile = false         # true: let a voter run on a file system that forgets (overlayfs, tmpfs); only for
                                    # clusters on one host that are made and thrown away as a whole

    [decisions]                     # the decision log, `decisions.db` in data_dir
    mode = "best_effort"            # or "strict": no allow leaves before its record is durable
    masked = ["context.email"]      # principal, resource, context or a path below it: recorded as keyed digests
    anchor_s = 300                  # how often its head is put on record in the lineage, 1 to 86,400
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import tomllib
from pathlib import Path

import msgspec

from govraft.core.convergence.timing import LeaseTiming
from govraft.core.evidence.decisions import check_masks
from govraft.core.model import limits
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, GovraftError, InputError
from govraft.node.decisions import DecisionMode

__all__ = ["Address", "NodeConfig", "Profile", "load_config", "load_genesis", "parse_address"]

Address = tuple[str, int]
CONFIG_BYTES_MAX = 1024 * 1024
_PORT = re.compile("[0-9]{1,5}")


class Profile(msgspec.Struct, frozen=True):
    """Time-outs that steer progress; safety rests on the lease, which genesis fixes.

    Attributes:
        heartbeat_ms: How often the leader probes and appends. Three of them must fit into a lease.
        election_min_ms, election_max_ms: Range of Raft's election time-out; more than three heartbeats.
        sync_wait_ms: How long a check may wait for the next certificate.
    """

    heartbeat_ms: int
    election_min_ms: int
    election_max_ms: int
    sync_wait_ms: int


PROFILES = {"lan": Profile(100, 500, 1000, 200), "wan": Profile(400, 2000, 4000, 800)}


class _Node(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    genesis: str
    key: str
    certificate: str
    data_dir: str
    key_passphrase_file: str | None = None
    former_key: str | None = None
    former_certificate: str | None = None


class _Listen(msgspec.Struct, forbid_unknown_fields=True):
    peer: str
    socket: str


class _Timing(msgspec.Struct, forbid_unknown_fields=True):
    profile: str = "lan"
    heartbeat_ms: int | None = None
    election_min_ms: int | None = None
    election_max_ms: int | None = None
    sync_wait_ms: int | None = None


class _Access(msgspec.Struct, forbid_unknown_fields=True):
    users: list[str] = []
    groups: list[str] = []


class _Storage(msgspec.Struct, forbid_unknown_fields=True):
    snapshot_entries: int = limits.SNAPSHOT_ENTRIES
    window_entries: int = limits.ENGINE_WINDOW_ENTRIES
    unsafe_volatile: bool = False


class _Decisions(msgspec.Struct, forbid_unknown_fields=True):
    mode: str = DecisionMode.BEST_EFFORT.value
    masked: list[str] = []
    anchor_s: int = 300


DATABASE_NAME = "node.db"
"""In the data directory."""

STORAGE_BOUNDS = {"snapshot_entries": (100, 10_000_000), "window_entries": (64, 1_000_000)}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    node: _Node
    listen: _Listen
    peers: dict[str, str] = {}
    timing: _Timing = msgspec.field(default_factory=_Timing)
    access: _Access = msgspec.field(default_factory=_Access)
    storage: _Storage = msgspec.field(default_factory=_Storage)
    decisions: _Decisions = msgspec.field(default_factory=_Decisions)


class NodeConfig(msgspec.Struct, frozen=True):
    """A configuration that has been checked; every path absolute."""

    file: Path
    node_id: str
    genesis_path: Path
    key_path: Path
    certificate_path: Path
    key_passphrase_path: Path | None
    data_dir: Path
    peer_listen: Address
    socket_path: Path
    peer_addresses: dict[str, Address]
    profile: Profile
    socket_gid: int | None
    allowed_uids: frozenset[int]
    allowed_gids: frozenset[int]
    snapshot_entries: int
    window_entries: int
    decision_mode: DecisionMode = DecisionMode.BEST_EFFORT
    decision_masks: tuple[str, ...] = ()
    anchor_s: int = 300
    former_paths: tuple[Path, Path] | None = None
    unsafe_volatile: bool = False

    @property
    def decision_log(self) -> Path:
        """The file of the node's decision log."""
        return self.data_dir / "decisions.db"

    @property
    def database(self) -> Path:
        """The file of the node's store."""
        return self.data_dir / DATABASE_NAME


def load_config(path: str | Path) -> NodeConfig:
    """Read and check a configuration file. Nothing is created, no socket is opened.

    Raises:
        ConfigError: It cannot be read or used; names the file, the key and what to do.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            text = stream.read(CONFIG_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', error)}", file=str(path)) from error
    if len(text) > CONFIG_BYTES_MAX:
        raise ConfigError(f"is larger than {CONFIG_BYTES_MAX} bytes", file=str(path))
    try:
        parsed = msgspec.convert(tomllib.loads(text.decode()), _File)
    except msgspec.ValidationError as error:
        message, key = _split_validation(str(error))
        raise ConfigError(message, file=str(path), key=key) from error
    except (ValueError, RecursionError) as error:
        # ValueError: bad TOML, bad UTF-8, and an integer with too many digits to be one.
        raise ConfigError(f"is not valid TOML: {error}", file=str(path)) from error
    return _check(file.resolve(), parsed)


def load_genesis(config: NodeConfig) -> Genesis:
    """Read the genesis that a configuration names, and hold the two against each other.

    Raises:
        ConfigError: The genesis cannot be used, or does not fit the configuration.
    """
    try:
        genesis = Genesis.decode(config.genesis_path.read_bytes())
    except OSError as error:
        message = f"`{config.genesis_path}`: {error.strerror}"
        raise ConfigError(message, file=str(config.file), key="node.genesis") from error
    except GovraftError as error:
        raise ConfigError(f"`{config.genesis_path}`: {error}", file=str(config.file), key="node.genesis") from error
    heartbeat_ms = config.profile.heartbeat_ms
    if heartbeat_ms * 3 > genesis.lease_ms:
        message = f"three heartbeats of {heartbeat_ms} ms do not fit into the lease of {genesis.lease_ms} ms"
        raise ConfigError(message, file=str(config.file), key="timing.heartbeat_ms")
    LeaseTiming.of(genesis)
    return genesis


def parse_address(text: str, *, file: str, key: str) -> Address:
    """`host:port`, the port from 0 to 65535, an IPv6 host in brackets.

    Raises:
        ConfigError: Anything else.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > 65_535:
        raise ConfigError(f"`{text}` is not `host:port`", file=file, key=key)
    return host, int(port)


def _check(file: Path, parsed: _File) -> NodeConfig:
    where = str(file)
    for key, value in (
        ("node.id", parsed.node.id),
        ("node.genesis", parsed.node.genesis),
        ("node.key", parsed.node.key),
        ("node.certificate", parsed.node.certificate),
        ("node.data_dir", parsed.node.data_dir),
        ("listen.socket", parsed.listen.socket),
        ("node.key_passphrase_file", parsed.node.key_passphrase_file),
        ("node.former_key", parsed.node.former_key),
        ("node.former_certificate", parsed.node.former_certificate),
    ):
        if value is not None and (not value or len(value) > 4096 or "\0" in value):
            raise ConfigError("must not be empty, over 4096 characters, or hold a zero byte", file=where, key=key)
    socket_path = Path(os.path.normpath(file.parent / parsed.listen.socket))
    if len(os.fsencode(socket_path)) > limits.SOCKET_PATH_BYTES:
        message = f"`{socket_path}` is longer than the {limits.SOCKET_PATH_BYTES} bytes of a socket path"
        raise ConfigError(message, file=where, key="listen.socket")
    if len(parsed.peers) > limits.VOTERS + limits.OBSERVERS:
        raise ConfigError("names more peers than a cluster can have", file=where, key="peers")
    for key, (least, most) in STORAGE_BOUNDS.items():
        value = getattr(parsed.storage, key)
        if not least <= value <= most:
            raise ConfigError(f"`{value}` must be from {least} to {most}", file=where, key=f"storage.{key}")
    passphrase = parsed.node.key_passphrase_file
    return NodeConfig(
        file=file,
        node_id=parsed.node.id,
        genesis_path=file.parent / parsed.node.genesis,
        key_path=file.parent / parsed.node.key,
        certificate_path=file.parent / parsed.node.certificate,
        key_passphrase_path=None if passphrase is None else file.parent / passphrase,
        data_dir=file.parent / parsed.node.data_dir,
        peer_listen=parse_address(parsed.listen.peer, file=where, key="listen.peer"),
        socket_path=socket_path,
        peer_addresses={
            peer: parse_address(text, file=where, key=f"peers.{peer}") for peer, text in parsed.peers.items()
        },
        profile=_profile(parsed.timing, where),
        socket_gid=_group_id(parsed.access.groups[0], where) if parsed.access.groups else None,
        allowed_uids=frozenset(_user_id(name, where) for name in parsed.access.users),
        allowed_gids=frozenset(_group_id(name, where) for name in parsed.access.groups),
        snapshot_entries=parsed.storage.snapshot_entries,
        window_entries=parsed.storage.window_entries,
        decision_mode=_decision_mode(parsed.decisions, where),
        decision_masks=tuple(parsed.decisions.masked),
        anchor_s=parsed.decisions.anchor_s,
        former_paths=_former_paths(parsed.node, file),
        unsafe_volatile=parsed.storage.unsafe_volatile,
    )


def _former_paths(node: _Node, file: Path) -> tuple[Path, Path] | None:
    if node.former_key is None and node.former_certificate is None:
        return None
    if node.former_key is None or node.former_certificate is None:
        raise ConfigError("needs `former_key` and `former_certificate`, or neither", file=str(file), key="node")
    return file.parent / node.former_key, file.parent / node.former_certificate


def _decision_mode(decisions: _Decisions, file: str) -> DecisionMode:
    try:
        check_masks(decisions.masked)
    except InputError as error:
        raise ConfigError(str(error), file=file, key="decisions.masked") from error
    if not 1 <= decisions.anchor_s <= 86_400:
        raise ConfigError(f"`{decisions.anchor_s}` must be from 1 to 86400", file=file, key="decisions.anchor_s")
    try:
        return DecisionMode(decisions.mode)
    except ValueError:
        message = f"`{decisions.mode[:64]}` is unknown; choose one of {', '.join(DecisionMode)}"
        raise ConfigError(message, file=file, key="decisions.mode") from None


def _profile(timing: _Timing, file: str) -> Profile:
    base = PROFILES.get(timing.profile)
    if base is None:
        message = f"`{timing.profile}` is unknown; choose one of {', '.join(PROFILES)}"
        raise ConfigError(message, file=file, key="timing.profile")
    given = {name: getattr(timing, name) for name in Profile.__struct_fields__ if getattr(timing, name) is not None}
    for name, value in given.items():
        if not 1 <= value <= 600_000:
            raise ConfigError(f"`{value}` must be from 1 to 600000 ms", file=file, key=f"timing.{name}")
    profile = msgspec.structs.replace(base, **given)
    if profile.election_min_ms <= 3 * profile.heartbeat_ms:
        message = f"must be more than three heartbeats of {profile.heartbeat_ms} ms"
        raise ConfigError(message, file=file, key="timing.election_min_ms")
    if profile.election_max_ms <= profile.election_min_ms:
        raise ConfigError("must be more than election_min_ms", file=file, key="timing.election_max_ms")
    return profile


def _user_id(name: str, file: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError) as error:
        raise ConfigError(f"user `{name}` does not exist on this host", file=file, key="access.users") from error


def _group_id(name: str, file: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:
        raise ConfigError(f"group `{name}` does not exist on this host", file=file, key="access.groups") from error


def _split_validation(message: str) -> tuple[str, str]:
    """Turn msgspec's ``… - at `$.node.id` `` into a message and a key."""
    text, _, path = message.partition(" - at `$.")
    text = text[:1].lower() + text[1:]
    return text, path.rstrip("`")
