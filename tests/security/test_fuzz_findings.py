"""What the fuzzer found, each in the smallest form that shows it."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from govraft.adapters import store_rows
from govraft.adapters.authority_key import load_authority_key
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.sqlite_store import SqliteStore, read_leaves
from govraft.cli.cluster_directory import load_directory
from govraft.cli.cluster_index import ClusterIndex
from govraft.cli.processes import find_process
from govraft.core.crypto.keys import certificate_key
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, CorruptionError, DecodeError, InputError
from govraft.node.config import load_config
from govraft.ports.store import JournalEntry, WriteBatch
from govraft.testing.sample import SampleCluster

IDS = {"cluster_id": "c" * 64, "node_id": "n1"}
VERSION = b"\xa0\x03\x02\x01\x02"


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "node.db"
    opened = SqliteStore(path, **IDS)
    batch = WriteBatch()
    batch.append(JournalEntry(1, 1, b"entry"))
    for seq in range(1, 4):
        batch.add_leaf(seq, b"leaf %d" % seq)
    opened.write(batch)
    opened.close()
    return path


def other_version() -> bytes:
    certificate = SampleCluster().genesis.members[0].certificate
    assert VERSION in certificate
    return certificate.replace(VERSION, VERSION[:-1] + b"\x07", 1)


def test_a_certificate_of_an_unknown_version_is_refused(tmp_path):
    sample = SampleCluster()
    assert certificate_key(other_version()) is None
    genesis = sample.genesis.encode()
    fields = json.loads(genesis)
    fields["members"][0]["certificate"] = base64.b64encode(other_version()).decode()
    with pytest.raises(DecodeError, match=r"members\[0\].certificate"):
        Genesis.decode(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
    key = sample.node_keys["n1"]
    with pytest.raises(InputError):
        NodeIdentity(key, other_version())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "key.pem").chmod(0o600)
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(other_version()) + b"-----END CERTIFICATE-----\n"
    (tmp_path / "cert.pem").write_bytes(pem)
    with pytest.raises(ConfigError):
        NodeIdentity.load(tmp_path / "key.pem", tmp_path / "cert.pem")


def test_a_key_whose_length_does_not_fit_its_kind_is_refused(tmp_path):
    """OpenSSL reports it as an error of its own. One changed byte makes an Ed25519 key such an X448 key."""
    sample = SampleCluster()
    pem = sample.node_keys["n1"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate = tmp_path / "cert.pem"
    certificate.write_bytes(NodeIdentity(sample.node_keys["n1"], sample.genesis.members[0].certificate).pem_chain())
    key = tmp_path / "key.pem"
    for content, is_refused in ((pem, False), (pem.replace(b"K2Vw", b"K2Vv", 1), True)):
        key.write_bytes(content)
        key.chmod(0o600)
        if not is_refused:
            NodeIdentity.load(key, certificate)
            load_authority_key(f"file:{key}", public_key=None, ask_passphrase=str)
            continue
        assert content != pem
        with pytest.raises(ConfigError):
            NodeIdentity.load(key, certificate)
        with pytest.raises(InputError):
            load_authority_key(f"file:{key}", public_key=None, ask_passphrase=str)
    with pytest.raises(InputError):
        load_authority_key("file:/x%00y", public_key=None, ask_passphrase=str)


def test_a_deep_or_foreign_cluster_file_is_refused(tmp_path):
    deep = b'{"nodes":[],"genesis":"g","version":1,"name":"","cluster":"","x":' + b"[" * 50_000
    for content in (deep, b'{"x":"\xff"}', b'{"nodes":[{"id":"\xff"}]}'):
        (tmp_path / "cluster.json").write_bytes(content)
        for read in (ClusterIndex, load_directory):
            with pytest.raises(ConfigError):
                read(tmp_path)
        (tmp_path / "n1.pid").write_bytes(content)
        with pytest.raises(ConfigError):
            find_process(tmp_path / "n1.pid")


@pytest.mark.parametrize("place", ["genesis", "socket", "uri", "config"])
def test_a_zero_byte_in_a_path_is_refused(tmp_path, place):
    paths = dict.fromkeys(("genesis", "socket", "uri", "config"), "x")
    for end, is_refused in (("", False), ("\0", True)):
        paths[place] = "x" + end
        node = {"id": "n1", "socket": paths["socket"], "config": paths["config"]}
        file = {"version": 1, "name": "", "cluster": "", "genesis": paths["genesis"], "nodes": [node]}
        file["keys"] = [{"id": "a", "uri": "file:" + paths["uri"]}]
        (tmp_path / "cluster.json").write_text(json.dumps(file))
        for read, reads in ((ClusterIndex, {"genesis", "socket", "uri"}), (load_directory, {"socket", "config"})):
            if is_refused and place in reads:
                with pytest.raises(ConfigError):
                    read(tmp_path)
            else:
                read(tmp_path)


def test_a_zero_byte_in_the_name_of_a_passphrase_file_is_refused(tmp_path):
    paths = "".join(f'{name} = "x"\n' for name in ("id", "genesis", "key", "certificate", "data_dir"))
    listen = '[listen]\npeer = "127.0.0.1:1"\nsocket = "s"\n'
    file = tmp_path / "node.toml"
    file.write_text(f'[node]\n{paths}key_passphrase_file = "p"\n{listen}')
    assert load_config(file).key_passphrase_path == tmp_path / "p"
    for bad in ("p\\u0000", "", "p" * 5000):
        file.write_text(f'[node]\n{paths}key_passphrase_file = "{bad}"\n{listen}')
        with pytest.raises(ConfigError, match="key_passphrase_file"):
            load_config(file)


@pytest.mark.parametrize(
    "text", [b"CREATE TABLE leaves", b"CREATE TABLE meta", b'{"writes"', b"cluster_id", b'{"term"']
)
def test_text_that_is_no_utf8_is_damage(store, text):
    """One flipped bit in the schema or in a record made the start end in a traceback instead of a refusal."""
    content = store.read_bytes()
    place = content.index(text)
    for offset in range(len(text)):
        store.write_bytes(
            content[: place + offset] + bytes([content[place + offset] ^ 0x80]) + content[place + offset + 1 :]
        )
        with pytest.raises(CorruptionError):
            SqliteStore(store, **IDS)
    store.write_bytes(content)
    SqliteStore(store, **IDS).close()


def test_a_leaf_without_its_columns_is_damage(store):
    """`read_leaves` looks at a store that may be in use, without the structure check of a start."""
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        schema = {row[0]: row[1] for row in connection.execute("SELECT name, sql FROM sqlite_schema")}
        loose = schema["leaves"].replace(" NOT NULL", "").replace(" STRICT", "")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'leaves'", (loose,))
        connection.execute("PRAGMA schema_version = 900")
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE leaves SET idx = NULL, leaf = 'text' WHERE seq = 2")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'leaves'", (schema["leaves"],))
        connection.execute("PRAGMA schema_version = 901")
    with pytest.raises(CorruptionError, match="leaf at seq 2"):
        read_leaves(store)


@pytest.mark.parametrize("writes", [-1, 2**63, 2**64 - 1, 2**64, 10**30])
def test_a_count_of_writes_that_no_guard_can_hold_is_damage(store, writes):
    assert rewrite(store, lambda fields: fields | {"writes": fields["writes"]})
    SqliteStore(store, **IDS).close()
    rewrite(store, lambda fields: fields | {"writes": writes})
    with pytest.raises(CorruptionError):
        SqliteStore(store, **IDS)


def test_a_record_that_nests_too_deep_is_damage(store):
    rewrite(store, lambda _fields: None, '{"x":' * 50_000)
    with pytest.raises(CorruptionError):
        SqliteStore(store, **IDS)


def rewrite(path, change, text: str | None = None) -> str:
    """Change the store's summary, and make its checksum fit."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        name = "summary" if text is None else "hard_state"
        (old,) = connection.execute("SELECT value FROM records WHERE name = ?", (name,)).fetchone()
        value = json.dumps(change(json.loads(old))) if text is None else text
        row = (value, store_rows._record_checksum(name, value), name)
        connection.execute("UPDATE records SET value = ?, checksum = ? WHERE name = ?", row)
        return value
