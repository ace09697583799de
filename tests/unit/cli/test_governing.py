"""Entities, enforcement, signatures and receipts."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from govraft.errors import AvailabilityError, RejectedError

AGENT = 'Agent::"a"'


def put(cluster, tmp_path: Path, entities: object, *more: object):
    (tmp_path / "e.json").write_text(json.dumps(entities))
    return cluster("entity", "put", tmp_path / "e.json", *more)


def test_entities_in_either_spelling(cluster, tmp_path: Path) -> None:
    entities = [
        {"uid": {"type": "Agent", "id": "a"}, "attrs": {"n": 1}, "parents": [{"type": "Team", "id": "t"}]},
        {"uid": 'Agent::"b"', "parents": ['Team::"t"']},
        {"uid": {"__entity": {"type": "Team", "id": "t"}}},
    ]
    assert put(cluster, tmp_path, entities).code == 0
    known = cluster.node.machine.entities
    assert set(known) == {AGENT, 'Agent::"b"', 'Team::"t"'}
    assert known[AGENT].attrs == {"n": 1}
    assert known[AGENT].parents == ('Team::"t"',)
    shown = cluster("entity", "list", "-o", "json").data
    assert [item["uid"] for item in shown] == sorted(known)  # Over two pages.
    assert [item["uid"] for item in cluster("entity", "list", "--type", "Team", "-o", "json").data] == ['Team::"t"']
    assert len(cluster("entity", "list", "--limit", 1, "-o", "json").data) == 1


def test_many_entities_go_out_in_batches(cluster, tmp_path: Path) -> None:
    entities = [{"uid": f'Agent::"{number}"', "attrs": {"text": "x" * 400}} for number in range(300)]
    done = put(cluster, tmp_path, entities, "-o", "json")
    assert done.code == 0, done.err
    assert len(cluster.node.machine.entities) == 300
    assert done.data["commands"] == cluster.node.machine.seq - 1 > 3
    assert cluster.node.waits == ["committed"] * (done.data["commands"] - 1) + ["effective"]
    assert max(len(entry) for entry in cluster.node.entries[1:]) <= 50 * 1024


def test_patch_delete_show(cluster, tmp_path: Path) -> None:
    put(cluster, tmp_path, [{"uid": AGENT, "attrs": {"n": 1, "m": 2}}])
    assert (
        cluster("entity", "patch", AGENT, "--set", 'n={"a":[1]}', "--unset", "m", "--add-parent", 'Team::"t"').code == 0
    )
    shown = cluster("entity", "show", AGENT, "-o", "json").data
    assert shown == {
        "uid": AGENT,
        "attrs": {"n": {"a": [1]}},
        "parents": ['Team::"t"'],
        "domain": "root",
        "marks": [],
    }
    assert cluster("entity", "delete", AGENT).code == 0
    assert cluster("entity", "show", AGENT).code == 2
    assert cluster("entity", "delete", AGENT).code == 1


@pytest.mark.parametrize(
    "entities",
    [
        [],
        [{"uid": "nonsense"}],
        [{"uid": AGENT, "atrs": {}}],
        [{"uid": AGENT, "tags": {"a": 1}}],
        [{"uid": AGENT, "attrs": []}],
        [{"uid": AGENT}, {"uid": 'Agent::"\\u{61}"'}],
        [{"uid": AGENT, "attrs": {"n": 1.5}}],
        [7],
    ],
)
def test_bad_entities_are_2(cluster, tmp_path: Path, entities: object) -> None:
    done = put(cluster, tmp_path, entities)
    assert (done.code, done.out, cluster.node.machine.seq) == (2, "", 1)


def test_enforcement(cluster) -> None:
    machine = cluster.node.machine
    assert cluster("quarantine", "subject", AGENT, "--reason", "odd").code == 0
    assert machine.marks("subject", AGENT)["quarantined"].reason == "odd"
    again = cluster("quarantine", "subject", AGENT, "--reason", "odd")
    assert (again.code, again.out) == (1, "")
    assert "[already_quarantined]" in again.err
    assert cluster("release", "subject", AGENT, "--reason", "fine").code == 0
    assert not machine.marks("subject", AGENT)
    done = cluster("revoke", "subject", AGENT, "--reason", "gone", "-o", "json")
    assert (done.code, done.data["outcome"], done.data["certified_seq"]) == (0, "applied", done.data["seq"])
    assert "revoked" in machine.marks("subject", AGENT)
    assert cluster("revoke", "node", "n1", "--reason", "gone").code == 0
    for arguments in (("group", AGENT, "--reason", "x"), ("subject", "n1", "--reason", "x"), ("subject", AGENT)):
        assert cluster("revoke", *arguments).code == 2


def test_reasons_cannot_steer_the_terminal(cluster, tmp_path: Path) -> None:
    put(cluster, tmp_path, [{"uid": AGENT}])
    cluster("revoke", "subject", AGENT, "--reason", "\x1b[31mred\u202e")
    shown = cluster("entity", "show", AGENT).out
    assert "\x1b" not in shown
    assert "\\x1b[31mred\\x202e" in shown


def test_wait_none_has_no_certificate_yet(cluster) -> None:
    done = cluster("revoke", "subject", AGENT, "--reason", "x", "--wait", "none", "-o", "json")
    assert (done.code, done.data["certified_seq"]) == (0, 0)


# Keys.


def key(cluster, name: str) -> str:
    return f"file2:{cluster.directory}/keys/{name}.pem"


def test_keys_by_uri_id_and_assignment(cluster) -> None:
    for text in (key(cluster, "olga"), "oscar", f"olga={key(cluster, 'olga')}"):
        assert cluster("quarantine", "subject", f'Agent::"{hash(text)}"', "--reason", "x", "--key", text).code == 0


def test_a_key_of_nobody_is_refused(cluster, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    stranger.chmod(0o600)
    done = cluster("revoke", "subject", AGENT, "--reason", "x", "--key", f"file2:{stranger}")
    assert (done.code, "[key_invalid]" in done.err) == (2, True)


def test_too_few_or_wrong_keys_are_refused_here(cluster) -> None:
    done = cluster("policy", "activate", 1, "--key", "pat")
    assert done.code == 2
    done = cluster("revoke", "subject", AGENT, "--reason", "x", "--key", "pat", "-o", "json")
    assert (done.code, json.loads(done.err)["code"]) == (2, "threshold_unmet")
    assert cluster("revoke", "subject", AGENT, "--reason", "x", "--key", f"olga={key(cluster, 'oscar')}").code == 2
    assert cluster("revoke", "subject", AGENT, "--reason", "x", "--key", "nosuch").code == 2
    assert cluster.node.machine.seq == 1


@pytest.mark.parametrize("final", [True, False])
def test_a_rejection_after_an_unknown_outcome_is_final_only_if_the_node_says_so(cluster, final: bool) -> None:
    retries: list[bool] = []

    async def submit(envelope: bytes, *, wait: str, timeout_s: float, retry: bool = False, at_least: int = 0) -> object:
        retries.append(retry)
        if not retry:
            raise AvailabilityError("lost", code="timed_out", definite=False)
        raise RejectedError("not here", code="policy_unknown", definite=final)

    cluster.node.submit = submit
    done = cluster("quarantine", "subject", AGENT, "--reason", "odd", "--timeout", "1")
    assert retries[:2] == [False, True]
    assert done.code == (1 if final else 3)
    assert ("[policy_unknown]" if final else "[outcome_unknown]") in done.err


def test_a_key_of_an_unknown_authority_is_named_as_such(cluster) -> None:
    done = cluster("revoke", "subject", AGENT, "--reason", "x", "--key", f"nobody={key(cluster, 'olga')}")
    assert (done.code, "`nobody` is no authority of this cluster" in done.err) == (2, True)


def test_a_receipt_that_cannot_be_kept_is_found_before_anything_is_submitted(cluster, tmp_path: Path) -> None:
    done = cluster("revoke", "subject", AGENT, "--reason", "x", "--receipt", tmp_path / "none" / "r.json")
    assert (done.code, "[file_unwritable]" in done.err, "nothing was submitted" in done.err) == (2, True, True)
    assert cluster.node.machine.seq == 1


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_disk_behind_stdout_is_no_defect(cluster, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    # What could not be written is tried again when the file is closed.
    with contextlib.suppress(OSError), monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr("sys.stdout", full)
        done = cluster("entity", "list", "-o", form)
    assert (done.code, "output_unwritable" in done.err) == (3, True)


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_closed_stdout_changes_no_exit_code(cluster, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("sys.stdout", None)
    done = cluster("entity", "list", "-o", form)
    assert (done.code, done.err) == (0, "")


def test_without_any_key_it_says_what_is_needed(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOVRAFT_CLUSTER")
    done = cluster("revoke", "subject", AGENT, "--reason", "x", "--endpoint", f"unix://{cluster.directory}/s")
    assert done.code == 2
    assert "1 `operator`" in done.err


def test_an_encrypted_key_takes_its_passphrase_from_the_environment(
    cluster, sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cluster.directory / "keys" / "olga.pem"
    path.write_bytes(
        sample.authority_keys["olga"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    )
    assert cluster("revoke", "subject", AGENT, "--reason", "x").code == 2
    monkeypatch.setenv("GOVRAFT_KEY_PASSPHRASE", "wrong")
    assert cluster("revoke", "subject", AGENT, "--reason", "x").code == 2
    monkeypatch.setenv("GOVRAFT_KEY_PASSPHRASE", "pw")
    assert cluster("revoke", "subject", AGENT, "--reason", "x").code == 0


def test_a_threshold_is_collected_from_people_apart(cluster, tmp_path: Path) -> None:
    policies = tmp_path / "p.cedar"
    policies.write_text("permit (principal, action, resource);")
    (tmp_path / "schema").write_text("entity A; action x appliesTo { principal: A, resource: A };")
    drafted = cluster("policy", "publish", policies, "--schema", tmp_path / "schema", "--key", "pat", "--dry-run")
    assert drafted.code == 0
    (tmp_path / "draft").write_text(drafted.out)
    assert cluster("submit", tmp_path / "draft").code == 1  # One of two is not enough for the cluster.
    signed = cluster("submit", tmp_path / "draft", "--key", "paula", "--dry-run")
    assert '"version":1' in signed.err  # What is signed is shown.
    assert cluster.node.machine.seq == 1
    (tmp_path / "signed").write_text(signed.out)
    assert cluster("submit", tmp_path / "signed").code == 0
    assert cluster.node.machine.policy_versions[0].authors == ("pat", "paula")


@pytest.mark.parametrize("text", ["", "{}", "nonsense\n", "[]"])
def test_what_is_no_envelope_is_not_submitted(cluster, tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert cluster("submit", tmp_path / "x").code == 2


def test_the_command_id_can_be_chosen_and_works_once(cluster) -> None:
    assert cluster("revoke", "subject", AGENT, "--reason", "x", "--command-id", "mine").code == 0
    done = cluster("revoke", "subject", 'Agent::"b"', "--reason", "x", "--command-id", "mine")
    assert (done.code, "[duplicate_command]" in done.err) == (1, True)
    assert cluster("revoke", "subject", AGENT, "--reason", "x", "--command-id", "a b").code == 2
