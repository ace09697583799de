"""Two verifiers, written apart, must say the same of every file: what either refuses, nobody may be shown as proof."""

from __future__ import annotations

import json
import os
import random
import re

import pytest
from golden.test_vectors_ed25519 import cases as signature_cases
from verifier.javascript import VERIFIER, Case, ask, in_javascript, in_python, run_node, text, vectors, without_replay
from verifier.mutations import spoil

from govraft.core.crypto.keys import verify
from govraft.core.model.genesis import Genesis
from govraft.core.model.reasons import Reason
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.evidence_vectors import NOW

SEED = int(os.environ.get("GOVRAFT_VERIFIER_SEED", "1"))
SPOILED = int(os.environ.get("GOVRAFT_VERIFIER_CASES", "400"))
POSITIONS = int(os.environ.get("GOVRAFT_VERIFIER_POSITIONS", "150"))
"""How many bytes of each permit file are changed, one at a time."""


def kind_of(case: Case) -> str:
    return case.name.split(":")[0]


@pytest.mark.clause("2 independently verifiable")
@pytest.mark.clause("6 independently reproducible")
def test_every_vector_comes_to_the_same() -> None:
    known = vectors()
    outcomes = in_javascript([case for case, _ in known])
    for (case, item), outcome in zip(known, outcomes, strict=True):
        assert (case.name, outcome.code, outcome.message) == (case.name, item["expect"], outcome.message)
        proven = None if "proven" not in item else without_replay(item["proven"])
        assert (case.name, outcome.proven) == (case.name, proven)


def test_a_receipt_of_a_command_that_is_named_like_a_format_is_a_receipt() -> None:
    cases = []
    for case, _ in vectors():
        if kind_of(case) == "receipt" and isinstance(case.file, bytes):
            fields = json.loads(case.file) | {"command_id": "govraft.lineage.v1"}
            cases.append(case._replace(file=json.dumps(fields, separators=(",", ":")).encode()))
    expected = [in_python(case).code for case in cases]
    assert "lineage_inconsistent" in expected, "it is not the id of the command in the envelope"
    assert [outcome.code for outcome in in_javascript(cases)] == expected


def test_spoiled_files_come_to_the_same() -> None:
    """GOVRAFT_VERIFIER_SEED and GOVRAFT_VERIFIER_CASES try others, and more."""
    rng, known = random.Random(SEED), [case for case, _ in vectors()]
    cases = [case._replace(file=spoil(case.file, rng)) for case in rng.choices(known, k=SPOILED)]
    for case, outcome in zip(cases, in_javascript(cases), strict=True):
        expected = in_python(case)
        if kind_of(case) == "lineage" and expected.message.startswith("replaying"):
            # Only a replay shows that; without one the root of the leaves does, in the end.
            assert outcome.code in ("lineage_inconsistent", "certificate_invalid", "evidence_malformed")
            continue
        assert (case.name, case.file, outcome.code, outcome.message) == (
            case.name,
            case.file,
            expected.code,
            outcome.message,
        )
        assert outcome.proven == expected.proven


@pytest.mark.parametrize("name", ["permit: two of three voters", "permit: epoch 3"])
def test_any_changed_byte_of_a_permit_fails(name: str) -> None:
    (case,) = [case for case, _ in vectors() if case.name == name]
    rng, changed = random.Random(SEED), []
    for place in rng.sample(range(len(case.file)), min(POSITIONS, len(case.file))):
        byte = bytes([case.file[place] ^ rng.randrange(1, 256)])
        changed.append(case._replace(file=case.file[:place] + byte + case.file[place + 1 :]))
    changed += [case._replace(file=case.file[:-1]), case._replace(file=b" " + case.file)]
    for item, outcome in zip(changed, in_javascript(changed), strict=True):
        assert outcome.code not in ("ok", "crash"), item.file
        assert outcome.code == in_python(item).code, item.file


def test_a_spoiled_genesis_is_none() -> None:
    (case,) = [case for case, _ in vectors() if case.name == "permit: two of three voters"]
    rng = random.Random(SEED)
    fields = json.loads(case.genesis)
    # What else stands in a certificate is for whoever parses X.509: here its key is all that counts.
    certificates = [member["certificate"] for member in fields["members"]]
    cases = [case._replace(genesis=spoil(case.genesis, rng)) for _ in range(100)]
    cases = [item for item in cases if all(certificate.encode() in item.genesis for certificate in certificates)]
    assert len(cases) > 40
    for item, outcome in zip(cases, in_javascript(cases), strict=True):
        assert (item.genesis, outcome.code) == (item.genesis, in_python(item).code)


def test_a_spoiled_trust_state_is_none() -> None:
    (case,) = [case for case, _ in vectors() if case.name == "trust: permit: of the present"]
    rng = random.Random(SEED)
    spoiled = [spoil(case.use["trust"].encode(), rng) for _ in range(200)]
    texts = [data.decode() for data in spoiled if b"\0" not in data and data.isascii()]
    cases = [case._replace(use={**case.use, "trust": item}) for item in texts]
    assert len(cases) > 100
    for item, outcome in zip(cases, in_javascript(cases), strict=True):
        assert (item.use["trust"], outcome.code) == (item.use["trust"], in_python(item).code)


def test_every_reason_is_known() -> None:
    world = EvidenceSample()
    genesis = world.sample.genesis.encode()
    cases = [
        Case(world.denial(world.denial_statement(reason=reason.value)), genesis, {}, reason.value) for reason in Reason
    ]
    for case, outcome in zip(cases, in_javascript(cases), strict=True):
        assert (case.name, outcome.code) == (case.name, "ok")


def test_signatures_on_which_verifiers_disagree() -> None:
    known = signature_cases()
    questions = [
        {"key": text(case.public_key), "signature": text(case.signature), "message": text(case.message)}
        for case in known.values()
    ]
    for (name, case), answer in zip(known.items(), ask(questions), strict=True):
        assert (name, answer["outcome"]) == (name, verify(case.public_key, case.signature, case.message))


def test_the_program(tmp_path) -> None:
    (case,) = [case for case, _ in vectors() if case.name == "permit: two of three voters"]
    file, genesis, other = tmp_path / "permit.json", tmp_path / "genesis.json", tmp_path / "other"
    file.write_bytes(case.file)
    genesis.write_bytes(case.genesis)

    def program(*arguments: object) -> tuple[int, str, str]:
        done = run_node(str(VERIFIER / "verify.mjs"), *map(str, arguments))
        return done.returncode, done.stdout, done.stderr

    request = json.dumps(case.use["request"])
    code, shown, errors = program(file, "--genesis", genesis, "--at", NOW, "--request", request)
    assert (code, errors) == (0, "")
    assert json.loads(shown)["kind"] == "permit"
    code, shown, errors = program(file, "--genesis", genesis)
    assert (code, shown) == (1, "")
    assert re.fullmatch(r"error: .*\(expired\)\n", errors)
    for usage in (
        (file,),
        (file, "--genesis", other),
        (other, "--genesis", genesis),
        (file, "--genesis", file),
        (file, "--genesis", genesis, "--at", "x"),
        (file, "--genesis", genesis, "--request", "1.5"),
        (file, "--genesis", genesis, "--nothing"),
    ):
        code, shown, errors = program(*usage)
        assert (usage, code, shown) == (usage, 2, "")
        assert re.fullmatch(r"error: .*\n", errors), errors


def test_the_program_holds_evidence_against_a_trust_state(tmp_path, monkeypatch) -> None:
    known = {case.name: case for case, _ in vectors()}
    case = known["trust: permit: of who has left"]
    file, genesis, trust = tmp_path / "permit.json", tmp_path / "genesis.json", tmp_path / "trust.json"
    for path, data in ((file, case.file), (genesis, case.genesis), (trust, case.use["trust"].encode())):
        path.write_bytes(data)
    cluster = Genesis.decode(case.genesis).cluster_id
    default = tmp_path / "data" / "govraft" / "trust" / f"{cluster}.json"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("GOVRAFT_TRUSTED", raising=False)

    def program(*arguments: object, at: tuple[object, ...] = ("--at", NOW)) -> tuple[int, object, str]:
        command = (VERIFIER / "verify.mjs", file, "--genesis", genesis, *at, *arguments)
        done = run_node(*map(str, command))
        shown = json.loads(done.stdout) if done.stdout else {}
        return done.returncode, (shown.get("trust"), shown.get("trusted")), done.stderr

    assert program() == (0, ("genesis", None), "")
    assert program("--trusted", "none") == (0, ("genesis", "none"), "")
    code, shown, error = program("--trusted", trust)
    assert (code, shown, "(superseded)" in error) == (1, (None, None), True)
    default.parent.mkdir(parents=True)
    default.write_bytes(trust.read_bytes())
    assert program()[0] == 1
    assert program("--trusted", "none")[0] == 0
    default.write_bytes(b"{}")
    assert program()[:2] == (2, (None, None))
    default.unlink()
    default.symlink_to("nowhere")
    assert program()[0] == 2
    default.unlink()
    for wrong in (tmp_path, tmp_path / "nosuch", genesis, ""):
        assert program("--trusted", wrong)[:2] == (2, (None, None))
    monkeypatch.setenv("GOVRAFT_TRUSTED", str(tmp_path / "nosuch"))
    assert program()[0] == 2
    monkeypatch.setenv("GOVRAFT_TRUSTED", "none")
    assert program() == (0, ("genesis", "none"), "")
    file.write_bytes(known["trust: receipt: of who has left"].file)
    assert program("--trusted", trust, at=())[0] == 1
    code, shown, error = program("--trusted", trust)
    assert (code, shown) == (0, ("not_shown", str(trust)))
    assert "signed by an electorate that has left" in error


def test_it_runs_in_browsers_too() -> None:
    """Only the program looks at files; all else imports its own modules alone, and stays small."""
    for path in VERIFIER.glob("*.mjs"):
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 400
        outside = [name for name in re.findall(r'from "([^"]+)"', source) if not name.startswith("./")]
        assert outside == (["node:fs", "node:os", "node:path", "node:util"] if path.name == "verify.mjs" else []), (
            path.name
        )
        assert path.name == "verify.mjs" or not re.search(
            r"\b(?:process|Buffer|require|eval|Function)\b\s*[.(]", source
        )
