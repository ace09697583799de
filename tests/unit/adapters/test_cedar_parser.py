"""The throw-away parser accepts only what a child process said to be acceptable, in time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from govraft.adapters import cedar_parser
from govraft.adapters.cedar_parser import ParserUnavailableError, PolicyParser, PolicyRejectedError, parse_isolated

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


def uid(name: str, kind: str = "U") -> dict[str, str]:
    return {"type": kind, "id": name}


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        ({"attrs": {"n": "s"}}, 'in attribute `n` on `U::"x"`, type mismatch: value was expected to have type long'),
        ({"attrs": {}}, 'expected entity `U::"x"` to have attribute `n`, but it does not'),
        ({"attrs": {"n": 1, "m": 2}}, 'attribute `m` on `U::"x"` should not exist according to the schema'),
        ({"uid": uid("x", "Z")}, 'entity `Z::"x"` has type `Z` which is not declared in the schema'),
        ({"parents": [uid("u")]}, '`U::"x"` is not allowed to have an ancestor of type `U`'),
    ],
)
def test_an_entity_that_does_not_fit_is_named_with_what_is_wrong(entity: dict[str, object], words: str) -> None:
    """Among others that do."""
    wrong = {"uid": uid("x"), "attrs": {"n": 1}, "parents": [], **entity}
    with pytest.raises(PolicyRejectedError) as caught:
        parse(GOOD, entities=[ENTITY, wrong, {**ENTITY, "uid": uid("v")}])
    assert words in str(caught.value)


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


READY = "import os; os.write(1, b'ready\\n'); "

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
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", READY + CHILDREN[child]])
    with pytest.raises(PolicyRejectedError) as caught:
        parse(GOOD)
    assert caught.value.code == "policy_parser_failed"


UNREADY = {
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "no module": "import no_such_module",
    "no memory": "raise MemoryError",
    "says nothing": "",
    "accepts at once": "print('{\"accepted\":true}', end='')",
    "refuses at once": 'print(\'{"code":"policy_invalid","message":"no"}\')',
    "half a word": "import os; os.write(1, b'read')",
}


@pytest.mark.parametrize("child", UNREADY)
def test_a_child_that_does_not_get_ready_says_nothing_about_the_proposal(
    child: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", UNREADY[child]])
    with pytest.raises(ParserUnavailableError, match="cannot start") as caught:
        parse(GOOD)
    assert (caught.value.code, caught.value.definite) == ("policy_parser_unavailable", True)


@pytest.mark.parametrize("command", [["/does/not/exist"], ["\0"], [""]])
def test_a_child_that_cannot_be_made_says_nothing_about_the_proposal(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: command)
    with pytest.raises(ParserUnavailableError, match="cannot start"):
        parse(GOOD)


def test_a_child_that_is_slow_to_start_says_nothing_about_the_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ParserUnavailableError, match="did not start within"):
        parse(GOOD, timeout_s=0.3)


def test_a_child_that_somebody_else_ends_says_nothing_about_the_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does when memory runs out."""
    killed = READY + "import signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", killed])
    with pytest.raises(ParserUnavailableError, match="somebody killed it"):
        parse(GOOD)


def test_a_child_that_fails_in_little_room_says_nothing_about_the_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_parser, "_memory_bytes", lambda: 512 << 20)
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", READY + "raise MemoryError"])
    with pytest.raises(ParserUnavailableError, match="512 MiB of address space only; raise LimitAS"):
        parse(GOOD)


def run_elsewhere(program: str, *, cwd: Path, **environment: str) -> str:
    """Run a program that finds govraft by nothing but what `environment` or the program itself says."""
    here = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [sys._base_executable, "-P", "-c", program],
        cwd=cwd,
        env={**here, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PARSE = f"""
import asyncio
from govraft.adapters.cedar_parser import PolicyRejectedError, parse_isolated
asyncio.run(parse_isolated({SCHEMA!r}, {{}}, None, timeout_s=60))
try:
    asyncio.run(parse_isolated("nonsense", {{}}, None, timeout_s=60))
except PolicyRejectedError:
    print("works")
"""
PLACES = [place for place in sys.path if place and Path(place).exists()]


def test_a_child_starts_below_a_small_limit_of_address_space(tmp_path: Path) -> None:
    limited = f"import sys; sys.path[:] = {PLACES!r}\nimport resource\n"
    limited += "resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))\n"
    assert run_elsewhere(limited + PARSE, cwd=tmp_path) == "works\n"


def test_a_child_looks_where_a_launcher_made_its_parent_look(tmp_path: Path) -> None:
    assert run_elsewhere(f"import sys; sys.path[:] = {PLACES!r}\n" + PARSE, cwd=tmp_path) == "works\n"


def test_a_child_finds_what_its_parent_found_in_the_current_directory(tmp_path: Path) -> None:
    for number, place in enumerate(PLACES):
        (tmp_path / f"p{number}").symlink_to(place)
    places = [f"p{number}" for number in range(len(PLACES))]
    assert run_elsewhere(f"import sys; sys.path[:] = {places!r}\n" + PARSE, cwd=tmp_path) == "works\n"


def test_a_child_finds_a_user_site_under_another_home(tmp_path: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / ".local" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "govraft.pth").write_text("\n".join(place for place in PLACES if "python3" not in place or "site" in place))
    assert run_elsewhere(PARSE, cwd=tmp_path, HOME=str(tmp_path)) == "works\n"


def test_a_parser_knows_whether_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = PolicyParser(30)
    assert parser.condition == "untested"
    asyncio.run(parser.test())
    assert parser.condition == "ok"
    with monkeypatch.context() as broken:
        broken.setattr(cedar_parser, "_child_command", lambda: ["/does/not/exist"])
        with pytest.raises(ParserUnavailableError):
            asyncio.run(parser.examine(SCHEMA, bundle(GOOD), None))
    assert "cannot start: No such file" in parser.condition
    with pytest.raises(PolicyRejectedError):
        asyncio.run(parser.examine("nonsense", {}, None))
    assert parser.condition == "ok"


def test_a_hanging_child_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = READY + "import time; time.sleep(60)"
    monkeypatch.setattr(cedar_parser, "_child_command", lambda: [sys.executable, "-c", hanging])
    started = time.monotonic()
    with pytest.raises(PolicyRejectedError) as caught:
        parse(GOOD, timeout_s=5)
    assert caught.value.code == "policy_parser_failed"
    assert time.monotonic() - started < 30


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
