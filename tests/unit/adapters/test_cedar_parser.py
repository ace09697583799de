"""The throw-away parser accepts only what a child process said to be acceptable, in time."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time

import pytest

from govraft.adapters import cedar_parser
from govraft.adapters.cedar_parser import PolicyRejectedError, parse_isolated

SCHEMA = "entity U = {n: Long}; action a appliesTo {principal: [U], resource: [U], context: {}};"
GOOD = "permit (principal, action, resource) when { principal.n == 1 };"
ENTITY = {"uid": {"type": "U", "id": "u"}, "attrs": {"n": 1}, "parents": []}


def bundle(*texts: str) -> dict[str, str]:
    return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}


def parse(
    *texts: str, schema: str = SCHEMA, entities: list[dict[str, object]] | None = None, timeout_s: float = 30
) -> None:
    asyncio.run(parse_isolated(schema, bundle(*texts), entities, timeout_s=timeout_s))


def test_accepts() -> None:
    parse(GOOD, entities=[ENTITY])


def test_accepts_nothing_to_check() -> None:
    parse()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("nonsense;", "policy_invalid", "does not parse"),
        ("permit (principal, action, resource) when { principal.none };", "policy_invalid", "none"),
        (
            "permit (principal, action, resource) when { " + "(" * 40 + "true" + ")" * 40 + " };",
            "policy_too_deep",
            "nests",
        ),
        (GOOD + GOOD, "policy_malformed", "split"),
    ],
)
def test_refuses_policies(text: str, code: str, words: str) -> None:
    with pytest.raises(PolicyRejectedError, match=words) as caught:
        parse(GOOD, text)
    assert caught.value.code == code


@pytest.mark.parametrize("schema", ["nonsense", "type A = Set<A>;", "entity U in [None];"])
def test_refuses_schemas(schema: str) -> None:
    with pytest.raises(PolicyRejectedError):
        parse(schema=schema)


@pytest.mark.parametrize(
    "change", [{"attrs": {}}, {"attrs": {"n": "1"}}, {"attrs": {"n": 1.5}}, {"uid": 7}, {"parents": [7]}]
)
def test_refuses_entities(change: dict[str, object]) -> None:
    with pytest.raises(PolicyRejectedError):
        parse(GOOD, entities=[{**ENTITY, **change}])


def test_refuses_what_is_no_json() -> None:
    with pytest.raises(PolicyRejectedError):
        parse(GOOD, entities=[{**ENTITY, "attrs": {"n": object()}}])


CHILDREN = {
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "accepts, then fails": "import sys; print('{\"accepted\":true}', end=''); sys.exit(3)",
    "accepts, then crashes": "import os; os.write(1, b'{\"accepted\":true}'); os.abort()",
    "says nothing": "",
    "garbage": "print('{\"accepted\":tru')",
    "something else": "print('{\"accepted\":false}')",
    "too much": "print('{\"accepted\":true}' * 100000)",
    "does not listen": "import os; os.close(0); os.write(1, b'null')",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_anything_but_acceptance_rejects(child: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", CHILDREN[child]])
    with pytest.raises(PolicyRejectedError) as caught:
        parse(GOOD)
    assert caught.value.code == "policy_parser_failed"


def test_a_child_that_cannot_start_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: ["/does/not/exist"])
    with pytest.raises(PolicyRejectedError) as caught:
        parse(GOOD)
    assert caught.value.code == "policy_parser_failed"


def test_a_hanging_child_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    started = time.monotonic()
    with pytest.raises(PolicyRejectedError) as caught:
        parse(GOOD, timeout_s=0.3)
    assert caught.value.code == "policy_parser_failed"
    assert time.monotonic() - started < 10


def test_a_cancelled_parse_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    children: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def record(*args: str, **kwargs: object) -> asyncio.subprocess.Process:
        child = await start(*args, **kwargs)  # type: ignore[arg-type]
        children.append(child)
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", record)

    async def scenario() -> None:
        task = asyncio.create_task(parse_isolated(SCHEMA, bundle(GOOD), None, timeout_s=60))
        while not children:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert [child.returncode for child in children] == [-9]
