"""Holds govraft against the original files of published vectors: `scripts/fuzz --published DIR`.

DIR holds clones of `wycheproof`, `ed25519-speccheck`, `merkle` and `JSONTestSuite`. None of their files is part of this
repository; tests/golden/vectors/README.md tells what stands here instead.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzzing.catalogue import TARGETS
from fuzzing.target import Finding, execute
from govraft.core.crypto.keys import verify
from govraft.core.lineage import proofs
from govraft.core.lineage.tree import EMPTY_ROOT
from govraft.errors import LineageError

__all__ = ["check"]

_SPECCHECK_ACCEPTED = frozenset({2, 3})
"""Canonical, in range, without cofactor, and of a key that is not small: formats.md, section 2."""


def check(directory: Path) -> Iterator[tuple[str, int, list[str]]]:
    """For each collection in `directory`: its name, how many vectors were tried, and what disagrees."""
    for name, read in (
        ("ed25519-speccheck", _speccheck),
        ("wycheproof", _wycheproof),
        ("merkle", _merkle),
        ("JSONTestSuite", _json),
    ):
        if (directory / name).is_dir():
            count, wrong = 0, []
            for vector, agrees in read(directory / name):
                count += 1
                if not agrees:
                    wrong.append(vector)
            yield name, count, wrong


def _speccheck(path: Path) -> Iterator[tuple[str, bool]]:
    for number, case in enumerate(json.loads((path / "cases.json").read_bytes())):
        key, signature, message = (bytes.fromhex(case[name]) for name in ("pub_key", "signature", "message"))
        yield f"case {number}", verify(key, signature, message) == (number in _SPECCHECK_ACCEPTED)


def _wycheproof(path: Path) -> Iterator[tuple[str, bool]]:
    for group in json.loads((path / "testvectors_v1" / "ed25519_test.json").read_bytes())["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            held = verify(key, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            yield f"test {case['tcId']}", held == (case["result"] == "valid")


def _merkle(path: Path) -> Iterator[tuple[str, bool]]:
    for kind, verifies in (("inclusion", _inclusion), ("consistency", _consistency)):
        for file in sorted((path / "testdata" / kind).rglob("*.json")):
            case = json.loads(file.read_bytes())
            # Documented: any lineage extends the empty one, without a proof (vectors/README.md).
            empty = kind == "consistency" and case["size1"] == 0 < case["size2"] and not case["proof"]
            from_empty = empty and _bytes(case["root1"]) == EMPTY_ROOT
            yield str(file.relative_to(path)), verifies(case) == (from_empty or not case["wantErr"])


def _inclusion(case: dict[str, Any]) -> bool:
    # The files give the hash of the leaf, not the leaf; a leaf's hash has 32 bytes.
    leaf, hash_leaf = _bytes(case["leafHash"]), proofs.hash_leaf
    proofs.hash_leaf = lambda data: data
    try:
        proofs.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], _proof(case), _bytes(case["root"]))
    except LineageError:
        return False
    finally:
        proofs.hash_leaf = hash_leaf
    return len(leaf) == len(EMPTY_ROOT)


def _consistency(case: dict[str, Any]) -> bool:
    old, new = (case["size1"], _bytes(case["root1"])), (case["size2"], _bytes(case["root2"]))
    try:
        proofs.verify_consistency(*old, *new, _proof(case))
    except LineageError:
        return False
    return True


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [_bytes(node) for node in case["proof"] or []]


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _json(path: Path) -> Iterator[tuple[str, bool]]:
    """Nothing that must be refused is taken, and every reader of JSON keeps its property on every file."""
    for file in sorted((path / "test_parsing").iterdir()):
        data = file.read_bytes()
        try:
            taken = [execute(TARGETS[name], data) for name in ("canonical-json", "envelope", "genesis", "receipt")]
        except Finding:
            taken = [True]
        yield file.name, file.name.startswith("y") or not any(taken)
