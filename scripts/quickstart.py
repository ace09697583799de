"""The tour of `scripts/quickstart`: each step is run, shown, and checked.

Commands are those that a reader can type. What has to be seen from all nodes at the same time, such as a node that is
cut off while the others go on, is watched through the client library.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import click

from govraft import Client, Deny, GovraftError, Reason, Verdict

ROOT = Path(__file__).resolve().parent.parent
AGENTS = ROOT / "cluster-configs" / "agents"
CONFIG = ROOT / "cluster-configs" / "local-3" / "cluster.toml"
COMMAND_TIMEOUT_S = 120
RECOVERY_TIMEOUT_S = 15.0
FAILOVER_MAX_S = 3.0
LEASES_WATCHED = 2
PAUSE_S = 0.01
TRACE_TRIES = 10
TRACE_PORTION = 200
UNFINISHED = ".unfinished"
"""In the directory of a run that has not come to its end."""
DENIALS = {
    "invalid-request": {Reason.REQUEST_INVALID},
    "unknown-entity": {Reason.POLICY_DENIED, Reason.POLICY_ERROR},
}
"""Reasons that fit a denial by the trace's rule; all others are denials by policy."""


class StepError(Exception):
    """A step did not come out as it must."""


class Sample(NamedTuple):
    """One answer of a node: when it was asked, in seconds of `time.monotonic`, and `allow` or the reason."""

    asked: float
    answer: str


class Watch:
    """Asks every node the same question over and over, each from a thread of its own."""

    def __init__(self, nodes: dict[str, str], question: dict[str, Any]) -> None:
        """Prepare to ask `question` of `nodes`, endpoints by id."""
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._samples: dict[str, list[Sample]] = {node: [] for node in nodes}
        self._threads = [
            threading.Thread(target=self._ask, args=(node, endpoint, question), daemon=True)
            for node, endpoint in nodes.items()
        ]

    def __enter__(self) -> Self:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop asking."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def since(self, node: str, moment: float) -> list[Sample]:
        """What was asked after `moment`, and answered."""
        with self._changed:
            return [sample for sample in self._samples[node] if sample.asked >= moment]

    def wait(self, what: str, holds: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `holds`, asked after every answer.

        Raises:
            StepError: It does not within `timeout_s`.
        """
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                last = {node: samples[-1].answer for node, samples in self._samples.items() if samples}
                raise StepError(f"{what}: not within {timeout_s:.0f} s; the last answers are {last}")

    def _ask(self, node: str, endpoint: str, question: dict[str, Any]) -> None:
        with Client(endpoint) as client:
            while not self._over.wait(PAUSE_S):
                asked = time.monotonic()
                verdict = client.check(**question)
                answer = str(verdict.reason) if isinstance(verdict, Deny) else "allow" if verdict else "expired"
                with self._changed:
                    self._samples[node].append(Sample(asked, answer))
                    self._changed.notify_all()


class Tour:
    """The steps, in order, on the cluster in `directory`."""

    def __init__(self, directory: Path) -> None:
        """Prepare; nothing is made yet."""
        self.directory = directory
        self.is_running = False
        # The tour's cluster, whatever the caller's environment says.
        others = {name: value for name, value in os.environ.items() if not name.startswith("GOVRAFT_")}
        self._environment = {**others, "GOVRAFT_CLUSTER": str(directory)}
        self._nodes: dict[str, str] = {}
        self._lease_s = 0.0
        self._question: dict[str, Any] = {}

    def create(self) -> str:
        """Make keys, genesis and configurations of three nodes."""
        self._run("init", "--from", str(CONFIG), "--out", str(self.directory))
        (self.directory / UNFINISHED).touch()
        content = json.loads((self.directory / "cluster.json").read_text(encoding="utf-8"))
        self._nodes = {node["id"]: f"unix://{self.directory / node['socket']}" for node in content["nodes"]}
        genesis = json.loads((self.directory / "genesis.json").read_text(encoding="utf-8"))
        self._lease_s = genesis["lease_ms"] / 1000
        return f"{len(self._nodes)} nodes, {len(content['keys'])} keys"

    def start(self) -> str:
        """Start the nodes and wait until all may allow."""
        self.is_running = True
        self._run("cluster", "up", str(self.directory), "--proxied")
        return f"{len(self._nodes)} nodes up"

    def publish(self) -> str:
        """Publish and activate signed policies, put the entities."""
        schema = str(AGENTS / "schema.cedarschema")
        self._run("policy", "publish", str(AGENTS / "policies"), "--schema", schema, "--activate")
        self._run("entity", "put", str(AGENTS / "entities.json"))
        return "effective"

    def trace(self) -> str:
        """Run the sample trace on every node."""
        expected = [json.loads(line) for line in (AGENTS / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
        for endpoint in self._nodes.values():
            self._run("check", "--batch", str(AGENTS / "trace.jsonl"), "--endpoint", endpoint)
            matched = _matches(endpoint, expected)
            if matched != len(expected) or matched == 0:
                raise StepError(f"{endpoint}: {matched} of {len(expected)} verdicts are as expected")
        return f"{len(expected)}/{len(expected)} verdicts as expected on each node"

    def show(self) -> str:
        """Show an allow, and a deny with its reason."""
        lines = [json.loads(line) for line in (AGENTS / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
        allowed = next(line for line in lines if line["expect"] == "allow" and line["principal"].startswith("Agent::"))
        denied = next(line for line in lines if line["expect"] == "deny" and line["principal"].startswith("Agent::"))
        self._question = {name: allowed[name] for name in ("principal", "action", "resource", "context")}
        for line, code in ((allowed, 0), (denied, 1)):
            context = json.dumps(line["context"])
            self._run(
                "check", line["principal"], line["action"], line["resource"], "--context", context, "--explain",
                exit_code=code,
            )  # fmt: skip
        return f"denied by rule `{denied['rule']}`"

    def cut_follower(self) -> str:
        """Cut a follower off: it denies within one lease, the others go on."""
        leader = self._leader()
        follower = next(node for node in self._nodes if node != leader)
        with self._watch() as watch:
            self._wait_all_allow(watch)
            denied_s, pause_s = self._cut_and_watch(watch, follower)
            if pause_s:
                raise StepError(f"the majority did not allow for {pause_s:.2f} s")
            healed_s = self._heal(watch)
        return (
            f"{follower} denied {denied_s:.2f} s after `cut` returned, nobody else; "
            f"all allow {healed_s:.2f} s after healing"
        )

    def cut_leader(self) -> str:
        """Cut the leader off: it denies within one lease, the others elect a new one."""
        leader = self._leader()
        with self._watch() as watch:
            self._wait_all_allow(watch)
            denied_s, pause_s = self._cut_and_watch(watch, leader)
            if pause_s > FAILOVER_MAX_S:
                raise StepError(f"the majority did not allow for {pause_s:.2f} s, more than {FAILOVER_MAX_S} s")
            healed_s = self._heal(watch)
        return (
            f"{leader} denied {denied_s:.2f} s after `cut` returned; the others paused for {pause_s:.2f} s; "
            f"all allow {healed_s:.2f} s after healing"
        )

    def revoke(self) -> str:
        """Revoke an agent: the very next check on each node denies."""
        agent = self._question["principal"]
        before = self._ask_all()
        if set(before.values()) != {"allow"}:
            raise StepError(f"{agent} should be allowed before: {before}")
        printed = self._run("revoke", "subject", agent, "--reason", "demonstration", "-o", "json", quiet=True)
        after = self._ask_all()
        parsed = json.loads(printed)
        receipt = parsed.get("receipt", parsed)
        if set(after.values()) != {"revoked"}:
            raise StepError(f"{agent} should be denied as revoked on each node: {after}")
        certified = receipt["certified_seq"]
        if not isinstance(certified, int) or certified < receipt["seq"] or receipt["outcome"] != "applied":
            raise StepError(f"the receipt does not tell of a certified revocation: {printed}")
        return f"receipt: seq {receipt['seq']}, certified seq {certified}; denied `revoked` on each node"

    def verify(self) -> str:
        """Export the lineage and verify it offline, from genesis alone."""
        export = self.directory / "lineage.jsonl"
        self._run("lineage", "export", str(export))
        self._run("verify", str(export), "--genesis", str(self.directory / "genesis.json"))
        return "every leaf, the root and the quorum's certificate hold"

    def stop(self) -> None:
        """Stop the nodes."""
        self._run("cluster", "down", str(self.directory))
        self.is_running = False

    def _cut_and_watch(self, watch: Watch, node: str) -> tuple[float, float]:
        """Cut `node` off for some leases.

        Returns:
            Seconds from the moment the cut was reported to its first denial, and the longest pause of any other node.
        """
        asked = time.monotonic()
        self._run("cluster", "cut", str(self.directory), node)
        cut = time.monotonic()
        enough = cut + (1 + LEASES_WATCHED) * self._lease_s
        others = [other for other in self._nodes if other != node]

        def is_over() -> bool:
            late = (watch.since(node, enough), *(watch.since(other, enough) for other in others))
            return all(late) and all(watch.since(other, enough)[-1].answer == "allow" for other in others)

        watch.wait("the majority allows", is_over, enough - cut + RECOVERY_TIMEOUT_S)
        answers = watch.since(node, cut)
        stale = [sample for sample in answers if sample.answer == "allow" and sample.asked > cut + self._lease_s]
        if stale:
            raise StepError(f"{node} allowed {stale[-1].asked - cut:.2f} s after it was cut off")
        first = next(sample for sample in answers if sample.answer != "allow")
        return first.asked - cut, max(_longest_pause(watch.since(other, asked)) for other in others)

    def _heal(self, watch: Watch) -> float:
        self._run("cluster", "heal", str(self.directory))
        healed = time.monotonic()
        self._wait_all_allow(watch)
        return time.monotonic() - healed

    def _wait_all_allow(self, watch: Watch) -> None:
        now = time.monotonic()

        def all_allow() -> bool:
            return all((watch.since(node, now) or [Sample(0.0, "")])[-1].answer == "allow" for node in self._nodes)

        watch.wait("all nodes allow", all_allow, RECOVERY_TIMEOUT_S)

    def _watch(self) -> Watch:
        return Watch(self._nodes, self._question)

    def _leader(self) -> str:
        for node, endpoint in self._nodes.items():
            with Client(endpoint) as client:
                if client.status()["is_leader"]:
                    return node
        raise StepError("no node leads")

    def _ask_all(self) -> dict[str, str]:
        answers = {}
        for node, endpoint in self._nodes.items():
            with Client(endpoint) as client:
                verdict = client.check(**self._question)
            answers[node] = str(verdict.reason) if isinstance(verdict, Deny) else "allow" if verdict else "expired"
        return answers

    def _run(self, *arguments: str, exit_code: int = 0, quiet: bool = False) -> str:
        """Run `govraft` as a user would, and show what it prints."""
        click.echo(f"  $ govraft {shlex.join(arguments)}")
        program = Path(sys.executable).with_name("govraft")
        done = subprocess.run(
            [program, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if not quiet:
            for line in (*done.stderr.splitlines(), *done.stdout.splitlines()):
                click.echo(f"    {line}")
        if done.returncode != exit_code:
            raise StepError(f"exit code {done.returncode} instead of {exit_code}: {done.stderr.strip()}")
        return done.stdout


def _matches(endpoint: str, expected: list[dict[str, Any]]) -> int:
    asked = [{name: line[name] for name in ("principal", "action", "resource", "context")} for line in expected]
    verdicts: list[Verdict] = []
    with Client(endpoint, timeout=RECOVERY_TIMEOUT_S) as client:
        for start in range(0, len(asked), TRACE_PORTION):
            verdicts += _answers(client, asked[start : start + TRACE_PORTION])
    return sum(_meets(line, verdict) for line, verdict in zip(expected, verdicts, strict=True))


def _answers(client: Client, asked: list[dict[str, Any]]) -> list[Verdict]:
    """A verdict on each; asked again, a bounded number of times, where the node could not tell."""
    for _ in range(TRACE_TRIES):
        verdicts = client.check_many(asked)
        if not any(isinstance(item, Deny) and item.reason.is_about_node(item.seq) for item in verdicts):
            break
        time.sleep(PAUSE_S)
    return verdicts


def _meets(line: dict[str, Any], verdict: Verdict) -> bool:
    """Whether a verdict is the expected one, for a reason that fits: a node that cannot tell denies too."""
    if not isinstance(verdict, Deny):
        # Not `bool(verdict)`: an allow that ran out while the others were answered was still the right one.
        return bool(line["expect"] == "allow")
    return bool(line["expect"] == "deny") and verdict.reason in DENIALS.get(line["rule"], {Reason.POLICY_DENIED})


def _longest_pause(samples: Iterable[Sample]) -> float:
    """Seconds from the first of a row of denials to the next allow; the longest such row."""
    longest, began = 0.0, None
    for sample in samples:
        if sample.answer != "allow":
            began = sample.asked if began is None else began
        elif began is not None:
            longest, began = max(longest, sample.asked - began), None
    return longest


@contextmanager
def _place(directory: Path | None, *, once: bool) -> Iterator[Path]:
    if directory is not None or not once:
        yield (directory or Path("demo-cluster")).absolute()
        return
    with tempfile.TemporaryDirectory(prefix="govraft-") as temporary:
        yield Path(temporary).resolve() / "demo-cluster"


def _tour(tour: Tour) -> None:
    click.echo(f"export GOVRAFT_CLUSTER={shlex.quote(str(tour.directory))}")
    steps = (
        tour.create, tour.start, tour.publish, tour.trace, tour.show,
        tour.cut_follower, tour.cut_leader, tour.revoke, tour.verify,
    )  # fmt: skip
    for number, step in enumerate(steps, 1):
        click.echo(f"\n[{number}/{len(steps)}] {(step.__doc__ or '').rstrip('.')}")
        began = time.monotonic()
        outcome = step()
        click.echo(f"  ok: {outcome} ({time.monotonic() - began:.1f} s)")


def _next_steps(directory: Path) -> None:
    where = shlex.quote(str(directory))
    program = shlex.quote(str(Path(sys.executable).with_name("govraft")))
    click.echo(f"\nThe cluster goes on running in {directory}. Next, for example:")
    for arguments in ("status", "watch", "policy list", "entity list", "lineage list"):
        click.echo(f"  {program} --cluster {where} {arguments}")
    click.echo(f"  {program} cluster cut {where} node-1    # and heal")
    click.echo(f"  {program} cluster down {where}")


@click.command()
@click.option("--once", is_flag=True, help="Stop everything at the end.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Where to make the cluster.")
def main(*, once: bool, directory: Path | None) -> None:
    """Make a cluster of three nodes and show what it does. Exit code 0 only if each step came out as it must."""
    with _place(directory, once=once) as place:
        if (place / UNFINISHED).exists():
            click.echo(f"removing what a run that did not finish left in {place}")
            Tour(place).stop()
            shutil.rmtree(place)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            click.echo(
                f"quickstart: `{place}` exists already; remove it after `govraft cluster down`, or use --dir", err=True
            )
            sys.exit(2)
        tour = Tour(place)
        try:
            _tour(tour)
            if once:
                tour.stop()
        except (StepError, GovraftError, subprocess.TimeoutExpired, OSError) as error:
            click.echo(f"  FAILED: {error}", err=True)
            _show_logs(place)
            sys.exit(1)
        else:
            (place / UNFINISHED).unlink()
            click.echo("\nEach step came out as it must.")
            if not once:
                tour.is_running = False
                _next_steps(place)
        finally:
            if tour.is_running:
                tour.stop()


def _show_logs(directory: Path) -> None:
    for path in sorted(directory.glob("log/*.log")):
        click.echo(f"  --- {path.name}", err=True)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]:
            click.echo(f"  {line}", err=True)


if __name__ == "__main__":
    main()
