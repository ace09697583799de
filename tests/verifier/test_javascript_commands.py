"""The table of commands, written twice: what one reader takes for a command, the other takes, too."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import inspect
from verifier.javascript import Case, in_javascript, in_python, text

from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import seal
from govraft.core.model.commands import COMMANDS
from govraft.testing.evidence_sample import EvidenceSample

_TEXTS = ("", "a", "A", "-", "a b", "a.b", "a@b", "ä", "AA==", "A===", "!", "a\n")
_LONG = (63, 64, 128, 129, 256, 257)
_DIGITS = (31, 32, 33, 63, 64, 65)
_OTHERS = (None, True, [], {}, [None])


def values(of: inspect.Type) -> list[Any]:
    """Values for a field: some that fit and some that do not, and those at its bounds."""
    if isinstance(of, inspect.StrType):
        is_free = (of.pattern, of.min_length, of.max_length) == (None, None, None)
        return ["", "ä"] if is_free else [*_TEXTS, *("a" * size for size in _LONG), *("0" * size for size in _DIGITS)]
    if isinstance(of, inspect.IntType):
        return [of.ge - 1, of.ge, of.le, of.le + 1, 2**64 - 1]
    if isinstance(of, inspect.EnumType):
        return [item.value for item in of.cls]
    if isinstance(of, inspect.UnionType):
        return [value for part in of.types for value in values(part)]
    if isinstance(of, (inspect.VarTupleType, inspect.ListType)):
        items = [[value] for value in values(of.item_type)]
        (fit, *_) = [*filter(lambda item: fits(of.item_type, item[0]), items), []]
        return [*items, *(fit * size for size in (2, 7, 8, 16, 17, 64, 65))]
    if isinstance(of, inspect.StructType):
        return [changed for _, changed in structs(of)]
    if isinstance(of, inspect.DictType):
        return [{}, {"a": {"b": [1, "x", None]}}]
    return [None]


def fits(of: inspect.Type, value: Any) -> bool:
    try:
        msgspec.convert(value, _annotation(of))
    except msgspec.ValidationError:
        return False
    return True


def _annotation(of: inspect.Type) -> Any:
    if isinstance(of, inspect.StrType):
        meta = {"min_length": of.min_length, "max_length": of.max_length, "pattern": of.pattern}
        return Annotated[str, msgspec.Meta(**{name: item for name, item in meta.items() if item is not None})]
    if isinstance(of, inspect.IntType):
        return Annotated[int, msgspec.Meta(**{n: i for n, i in {"ge": of.ge, "le": of.le}.items() if i is not None})]
    if isinstance(of, (inspect.EnumType, inspect.StructType)):
        return of.cls
    return Any


def structs(of: inspect.StructType) -> list[tuple[str, dict[str, Any]]]:
    """A struct with each field at each of its values in turn, without each, and with one too many."""
    good = fitting(of)
    if "targets" not in good:
        return changed(of, good)
    # One of both names what a command is about.
    forms = [{name: value for name, value in good.items() if name != left_out} for left_out in ("id", "targets")]
    return [("both", good), *(each for form in forms for each in changed(of, form))]


def changed(of: inspect.StructType, good: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [("good", good), ("more", good | {"more": None})]
    for field in of.fields:
        found.append(
            (f"no {field.encode_name}", {name: item for name, item in good.items() if name != field.encode_name})
        )
        found += [(field.encode_name, good | {field.encode_name: value}) for value in (*values(field.type), *_OTHERS)]
    return found


def fitting(of: inspect.StructType) -> dict[str, Any]:
    return {field.encode_name: first_fit(field.type) for field in of.fields}


def first_fit(of: inspect.Type) -> Any:
    if isinstance(of, inspect.StructType):
        return fitting(of)
    if isinstance(of, inspect.UnionType):
        return first_fit(of.types[0])
    if isinstance(of, (inspect.VarTupleType, inspect.ListType)):
        return [first_fit(of.item_type)]
    if isinstance(of, inspect.DictType):
        return {"a": 1}
    return next(value for value in values(of) if fits(of, value))


@pytest.mark.slow
def test_both_take_the_same_for_a_command() -> None:
    """In a receipt of another cluster: what is no command is malformed, and else the cluster is looked at next."""
    world = EvidenceSample()
    receipt = world.receipt() | {"cluster": "0" * 64, "lease": "", "proof": [], "epochs": []}
    cases = []
    for name, (command, _) in COMMANDS.items():
        of = inspect.type_info(command)
        assert isinstance(of, inspect.StructType)
        for what, fields in structs(of):
            envelope = seal(f"application/vnd.govraft.{name}.v1+json", pack_json(fields), [])
            file = json.dumps(receipt | {"envelope": text(envelope)}).encode()
            cases.append(Case(file, world.sample.genesis.encode(), {}, f"{name}, {what}: {fields}"))
    found: dict[str, set[str]] = {}
    for case, outcome in zip(cases, in_javascript(cases), strict=True):
        expected = in_python(case)
        assert (case.name, outcome.code, outcome.message) == (case.name, expected.code, outcome.message)
        found.setdefault(case.name.split(",")[0], set()).add(outcome.code)
    assert found == dict.fromkeys(COMMANDS, {"evidence_malformed", "wrong_cluster"})
