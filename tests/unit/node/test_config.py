import grp
import os
import pwd

import pytest
from simulation.arena import cast

from govraft.core.model.electorate import QuorumRule
from govraft.errors import ConfigError
from govraft.node.config import CONFIG_BYTES_MAX, load_config, load_genesis, parse_address

GOOD = """
[node]
id = "a"
genesis = "genesis.json"
key = "a.key.pem"
certificate = "a.cert.pem"
data_dir = "data"

[listen]
peer = "127.0.0.1:7101"
socket = "s.sock"
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes):
        file = tmp_path / "node.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def test_paths_are_relative_to_the_file_and_defaults_are_the_lan_profile(write, tmp_path):
    config = load_config(write(GOOD))
    assert config.node_id == "a"
    assert config.genesis_path == tmp_path / "genesis.json"
    assert config.key_path == tmp_path / "a.key.pem"
    assert config.certificate_path == tmp_path / "a.cert.pem"
    assert config.data_dir == tmp_path / "data"
    assert config.socket_path == tmp_path / "s.sock"
    assert config.key_passphrase_path is None
    assert config.peer_listen == ("127.0.0.1", 7101)
    assert config.peer_addresses == {}
    assert (config.profile.heartbeat_ms, config.profile.election_min_ms, config.profile.sync_wait_ms) == (100, 500, 200)
    assert (config.allowed_uids, config.allowed_gids) == (frozenset(), frozenset())
    assert not list(tmp_path.glob("data*")), "reading creates nothing"


def test_everything_that_can_be_said_is_heard(write, tmp_path):
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    more = GOOD.replace('data_dir = "data"', 'data_dir = "/var/x"\nkey_passphrase_file = "secret"')
    more += f"""
[peers]
b = "[::1]:7102"
c = "host.example:0"
[timing]
profile = "wan"
heartbeat_ms = 50
[storage]
snapshot_entries = 100
window_entries = 1000000
[access]
users = ["{user}"]
groups = ["{group}"]
"""
    config = load_config(write(more))
    assert str(config.data_dir) == "/var/x"
    assert config.key_passphrase_path == tmp_path / "secret"
    assert config.peer_addresses == {"b": ("::1", 7102), "c": ("host.example", 0)}
    assert (config.profile.heartbeat_ms, config.profile.election_min_ms, config.profile.sync_wait_ms) == (50, 2000, 800)
    assert (config.snapshot_entries, config.window_entries) == (100, 1_000_000)
    assert config.allowed_uids == {os.getuid()}
    assert config.allowed_gids == {os.getgid()}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('id = "a"', 'id = ""'), "node.id"),
        (('id = "a"', "id = 1"), "node.id"),
        (('id = "a"\n', ""), "node"),
        (('genesis = "genesis.json"', 'genesis = ""'), "node.genesis"),
        (('key = "a.key.pem"', 'key = "\\u0000"'), "node.key"),
        (('data_dir = "data"', f'data_dir = "{"d" * 5000}"'), "node.data_dir"),
        (('socket = "s.sock"', f'socket = "{"s" * 108}"'), "listen.socket"),
        (('peer = "127.0.0.1:7101"', 'peer = "7101"'), "listen.peer"),
        (("[listen]", "[access]\nusers = ['no-such-user']\n[listen]"), "access.users"),
        (("[listen]", "[access]\nusers = ['a\\u0000b']\n[listen]"), "access.users"),
        (("[listen]", "[access]\ngroups = ['no-such-group']\n[listen]"), "access.groups"),
        (("[listen]", "[timing]\nprofile = 'moon'\n[listen]"), "timing.profile"),
        (("[listen]", "[timing]\nheartbeat_ms = 0\n[listen]"), "timing.heartbeat_ms"),
        (("[listen]", "[timing]\nheartbeat_ms = true\n[listen]"), "timing.heartbeat_ms"),
        (("[listen]", "[timing]\nsync_wait_ms = 600001\n[listen]"), "timing.sync_wait_ms"),
        (("[listen]", "[timing]\nelection_min_ms = 300\n[listen]"), "timing.election_min_ms"),
        (("[listen]", "[timing]\nelection_max_ms = 500\n[listen]"), "timing.election_max_ms"),
        (("[listen]", "[storage]\nsnapshot_entries = 99\n[listen]"), "storage.snapshot_entries"),
        (("[listen]", "[storage]\nsnapshot_entries = 10000001\n[listen]"), "storage.snapshot_entries"),
        (("[listen]", "[storage]\nwindow_entries = 63\n[listen]"), "storage.window_entries"),
        (("[listen]", "[storage]\nwindow_entries = 1000001\n[listen]"), "storage.window_entries"),
        (("[listen]", "[storage]\nwindow_entries = '64'\n[listen]"), "storage.window_entries"),
        (("[listen]", "[storage]\nsurprise = 1\n[listen]"), "storage"),
        (("[listen]", "[decisions]\nmode = 'lax'\n[listen]"), "decisions.mode"),
        (("[listen]", "[decisions]\nmode = 1\n[listen]"), "decisions.mode"),
        (("[listen]", "[decisions]\nmasked = ['action']\n[listen]"), "decisions.masked"),
        (("[listen]", "[decisions]\nmasked = 'principal'\n[listen]"), "decisions.masked"),
        (("[listen]", "[decisions]\nanchor_s = 0\n[listen]"), "decisions.anchor_s"),
        (("[listen]", "[decisions]\nanchor_s = 86401\n[listen]"), "decisions.anchor_s"),
        (("[listen]", "[decisions]\nstrict = true\n[listen]"), "decisions"),
        (("[listen]", "[peers]\nb = 'nowhere'\n[listen]"), "peers.b"),
        (("[listen]", "[peers]\n" + "".join(f"n{n} = 'h:1'\n" for n in range(74)) + "[listen]"), "peers"),
        (("[listen]", "[surprise]\n[listen]"), ""),
        (("[listen]", "[listen]\nsurprise = 1"), "listen"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(write, change, key):
    file = write(GOOD.replace(*change))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert caught.value.key == key
    assert caught.value.file == str(file)
    assert "\n" not in str(caught.value).strip()


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"[node", b"x = " + b"1" * 5000, b"x = " + b"[" * 2000, b"#" * (CONFIG_BYTES_MAX + 1), b""],
    ids=lambda text: repr(text[:10]),
)
def test_a_file_that_is_no_configuration(write, text):
    with pytest.raises(ConfigError):
        load_config(write(text))


@pytest.mark.parametrize("path", ["/no/such/file", "/", "a\0b"])
def test_a_file_that_cannot_be_read(path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":1", "host:65536", "host:-1", "host:1x", "host:١", "a:b:1", "host:" + "1" * 5000],
)
def test_bad_addresses(text):
    with pytest.raises(ConfigError):
        parse_address(text, file="f", key="k")


def test_good_addresses():
    for text, address in (("h:0", ("h", 0)), ("[::1]:65535", ("::1", 65535)), ("1.2.3.4:00080", ("1.2.3.4", 80))):
        assert parse_address(text, file="f", key="k") == address


def test_the_genesis_must_fit(write, tmp_path):
    genesis, _, _ = cast(3, QuorumRule.MAJORITY)
    with pytest.raises(ConfigError) as caught:
        load_genesis(load_config(write(GOOD)))
    assert caught.value.key == "node.genesis"
    (tmp_path / "genesis.json").write_bytes(b"{}")
    with pytest.raises(ConfigError) as caught:
        load_genesis(load_config(write(GOOD)))
    assert caught.value.key == "node.genesis"
    (tmp_path / "genesis.json").write_bytes(genesis.encode())
    assert load_genesis(load_config(write(GOOD))) == genesis
    for change, key in (
        (
            ("[listen]", "[timing]\nheartbeat_ms = 334\nelection_min_ms = 2000\nelection_max_ms = 3000\n[listen]"),
            "timing.heartbeat_ms",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            load_genesis(load_config(write(GOOD.replace(*change))))
        assert caught.value.key == key


def test_a_decision_log_is_best_effort_unless_it_is_to_be_strict(write, tmp_path):
    config = load_config(write(GOOD))
    assert (config.decision_mode, config.decision_masks, config.anchor_s) == ("best_effort", (), 300)
    assert config.decision_log == tmp_path / "data" / "decisions.db"
    text = GOOD + '[decisions]\nmode = "strict"\nmasked = ["principal", "context.user.email"]\nanchor_s = 1\n'
    config = load_config(write(text))
    assert (config.decision_mode, config.anchor_s) == ("strict", 1)
    assert config.decision_masks == ("principal", "context.user.email")
