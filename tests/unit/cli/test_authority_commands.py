"""`govraft authority`, and which keys a command is signed with."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from govraft.core.machine.domain_view import DOMAIN_PREFIX, Domain
from govraft.core.machine.state import Changes
from govraft.core.model.authority import Role
from govraft.errors import InputError

AGENT = 'Agent::"a"'


@pytest.fixture
def new_key(tmp_path: Path):
    """Makes a key file; its URI and its public key in base64."""

    def make(name: str) -> tuple[str, str]:
        private = Ed25519PrivateKey.generate()
        path = tmp_path / f"{name}.pem"
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        return f"file2:{path}", base64.b64encode(private.public_key().public_bytes_raw()).decode()

    return make


def grow(cluster, name: str, parent: str = "root") -> None:
    changes = Changes()
    changes.put("domains", DOMAIN_PREFIX + name, Domain(name, parent, 1, 1, ()))
    cluster.node.machine.state.commit(changes)


def test_list_and_show(cluster) -> None:
    assert "operator (1 needed)" in cluster("authority", "list").out
    assert cluster("authority", "suspend", "olga", "--reason", "\x1b[31maway").code == 0
    listed = cluster("authority", "list", "-o", "json").data
    assert {item["id"]: item["status"] for item in listed["authorities"]}["olga"] == "suspended"
    assert listed["thresholds"] == {"operator": 1, "policy": 2, "root": 2}
    shown = cluster("authority", "show", "olga").out
    assert "suspended" in shown
    assert "\x1b" not in shown
    missing = cluster("authority", "show", "nobody")
    assert (missing.code, "[authority_unknown]" in missing.err) == (2, True)


def test_long_lists_come_in_pages(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("govraft.node.authority_reads.AUTHORITY_PAGE_MAX", 2)
    listed = cluster("authority", "list", "-o", "json").data["authorities"]
    assert [item["id"] for item in listed] == ["olga", "oscar", "pat", "paula", "rita", "ruth"]


def test_add_and_what_the_new_one_can_do(cluster, new_key) -> None:
    uri, text = new_key("nina")
    done = cluster("authority", "add", "nina", "--role", "policy", "--role", "operator", "--new-key", uri)
    assert done.code == 0
    nina = cluster.node.machine.authorities["nina"]
    assert (nina.roles, base64.b64encode(nina.public_key).decode()) == ((Role.OPERATOR, Role.POLICY), text)
    assert cluster("revoke", "subject", AGENT, "--reason", "x", "--key", uri).code == 0
    again = cluster("authority", "add", "nina", "--role", "policy", "--new-key", new_key("other")[0])
    assert (again.code, "[authority_exists]" in again.err) == (1, True)


def test_add_by_public_key_is_signed_apart(cluster, new_key, tmp_path: Path) -> None:
    uri, text = new_key("nina")
    given = ("authority", "add", "nina", "--role", "auditor", "--public-key", text)
    refused = cluster(*given)
    assert (refused.code, "--dry-run" in refused.err) == (2, True)
    drafted = cluster(*given, "--dry-run")
    (tmp_path / "draft").write_text(drafted.out)
    assert "[possession_unproven]" in cluster("submit", tmp_path / "draft").err
    stranger = cluster("submit", tmp_path / "draft", "--key", new_key("stranger")[0], "--dry-run")
    assert (stranger.code, "[key_invalid]" in stranger.err) == (2, True)
    signed = cluster("submit", tmp_path / "draft", "--key", uri, "--dry-run")
    assert signed.code == 0, signed.err
    (tmp_path / "signed").write_text(signed.out)
    assert cluster("submit", tmp_path / "signed").code == 0
    assert cluster.node.machine.authorities["nina"].roles == (Role.AUDITOR,)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--role", "king", "--public-key", "AA==", "--dry-run"),
        ("--role", "root", "--role", "root", "--public-key", "AA==", "--dry-run"),
        ("--role", "root", "--public-key", "AA==", "--dry-run"),
        ("--role", "root", "--public-key", "é", "--dry-run"),
        ("--role", "root@", "--public-key", "", "--dry-run"),
        ("--role", "root@No", "--new-key", "file2:/nowhere"),
        ("--role", "root"),
        ("--role", "root", "--new-key", "x:y", "--public-key", "AA=="),
        ("--public-key", "AA=="),
    ],
)
def test_bad_input_is_2(cluster, arguments: tuple[str, ...]) -> None:
    done = cluster("authority", "add", "nina", *arguments)
    assert (done.code, done.out, cluster.node.machine.seq) == (2, "", 1)
    assert "Traceback" not in done.err


def test_assign_and_thresholds(cluster) -> None:
    grow(cluster, "payments")
    machine = cluster.node.machine
    assert cluster("authority", "assign", "olga", "--role", "operator@payments", "--role", "auditor").code == 0
    assert [str(item.domain) for item in machine.authorities["olga"].assignments] == ["root", "payments"]
    assert cluster("authority", "threshold", "operator", "2", "--domain", "payments").code == 0
    assert machine.thresholds["operator@payments"] == 2
    assert cluster("authority", "threshold", "operator", "0", "--domain", "payments").code == 0
    too_many = cluster("authority", "threshold", "root", "3")
    assert (too_many.code, "[role_unable]" in too_many.err) == (1, True)
    for arguments in (("king", "1"), ("root", "65"), ("root", "-1"), ("root", "x")):
        assert cluster("authority", "threshold", *arguments).code == 2


def test_rotate(cluster, new_key) -> None:
    (first, _), (second, _) = new_key("olga"), new_key("rita")
    assert cluster("authority", "rotate", f"olga={first}", f"rita={second}").code == 0
    assert cluster("revoke", "subject", AGENT, "--reason", "x", "--key", first).code == 0
    old = cluster("revoke", "subject", 'Agent::"b"', "--reason", "x", "--key", "olga")
    assert old.code == 2
    for text in ("olga", "=file2:x", "olga="):
        assert cluster("authority", "rotate", text).code == 2


def test_suspend_resume_revoke(cluster, new_key) -> None:
    machine = cluster.node.machine
    assert cluster("authority", "suspend", "olga", "--reason", "away").code == 0
    assert machine.authorities["olga"].status == "suspended"
    # The next command is signed by whoever still can.
    assert cluster("revoke", "subject", AGENT, "--reason", "x").code == 0
    assert machine.marks("subject", AGENT)["revoked"].authors == ("oscar",)
    assert cluster("authority", "resume", "olga", "--reason", "back").code == 0
    assert cluster("authority", "revoke", "olga", "--reason", "left").code == 0
    assert "[authority_state]" in cluster("authority", "resume", "olga", "--reason", "back").err
    uri, _ = new_key("emil")
    assert cluster("authority", "add", "emil", "--role", "emergency", "--new-key", uri).code == 0
    emergency = ("authority", "revoke", "pat", "--emergency", "--reason", "leak")
    assert cluster(*emergency, "--key", "rita", "--key", "ruth").code == 2
    refused = cluster(*emergency, "--key", uri)
    assert (refused.code, "[role_unable]" in refused.err) == (1, True)
    assert cluster("authority", "assign", "oscar", "--role", "operator", "--role", "policy").code == 0
    assert cluster(*emergency, "--key", uri).code == 0
    assert machine.authorities["pat"].status == "revoked"


def test_scoped_roots_sign_in_their_domain(cluster, new_key) -> None:
    grow(cluster, "payments")
    uri, _ = new_key("anna")
    assert cluster("authority", "add", "anna", "--role", "root@payments", "--new-key", uri).code == 0
    assert cluster("authority", "threshold", "root", "1", "--domain", "payments").code == 0
    assert cluster("authority", "threshold", "operator", "1", "--domain", "payments", "--key", uri).code == 0
    refused = cluster("authority", "threshold", "operator", "1", "--key", uri)
    assert (refused.code, "of 2 `root`" in refused.err) == (2, True)


def test_without_a_node_the_genesis_says_who_signs(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("--endpoint", f"unix://{cluster.directory}/none", "--dry-run")
    done = cluster("authority", "suspend", "olga", "--reason", "x", *gone)
    assert done.code == 0
    assert len(json.loads(done.out)["signatures"]) == 2
    assert "signed by rita, ruth" in done.err


def test_one_signature_that_suffices_alone(cluster) -> None:
    """Whoever may hand a grant on signs it alone, whatever number of operators it would take."""
    read = cluster.node.read

    def answer(what: str, params: dict[str, object]) -> object:
        found = read(what, params)
        return {**found, "needed": 2, "alone": "pat"} if what == "signers" else found

    cluster.node.read = answer
    for key, code in (("olga", 2), ("pat", 1)):
        done = cluster("revoke", "subject", AGENT, "--reason", "x", "--key", key)
        assert (done.code, "[threshold_unmet]" in done.err) == (code, True)


def test_an_older_node_that_cannot_say_who_signs(cluster) -> None:
    read = cluster.node.read

    def older(what: str, params: dict[str, object]) -> object:
        if what in ("signers", "authorities"):
            raise InputError(f"cannot read `{what}`")
        return read(what, params)

    cluster.node.read = older
    assert cluster("revoke", "subject", AGENT, "--reason", "x").code == 0
