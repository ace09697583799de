"""The blocking client: check, require, submit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from govraft.api.signed_answers import Redeemed
from govraft.api.wire import Receipt, Wait
from govraft.client.answers import event_in
from govraft.client.connection import Connection, StaleConnectionError, deadline_in
from govraft.client.endpoint import resolve_endpoint
from govraft.client.permits import Permit, SignedVerdict, ask_authorize, ask_redeem, ask_signed
from govraft.client.questions import (
    Asked,
    Question,
    ask_check,
    ask_many,
    ask_read,
    ask_submit,
    ask_watch,
    count_tries,
    timeout_of,
)
from govraft.client.verdicts import Allow, Verdict, deny_for, insist
from govraft.errors import Denied, GovraftError

__all__ = ["Client"]

_IDLE_CONNECTIONS_MAX = 32
_GRACE_S = 1.0

T = TypeVar("T")


class Client:
    """Asks the node on this host. Usable from any thread, after fork, and many at a time.

    ```python
    gov = Client()
    if gov.check('Agent::"ci-bot"', 'Action::"deploy"', 'Service::"payments"', context={"env": "prod"}):
        ...
    ```
    """

    def __init__(self, endpoint: str | None = None, *, timeout: float = 2.0) -> None:
        """Prepare; the connection is made when it is first needed.

        Args:
            endpoint: `unix:///path/to.sock`; None for `GOVRAFT_ENDPOINT`, else for a node of the cluster in
                `GOVRAFT_CLUSTER`, else `unix:///run/govraft/govraft.sock`.
            timeout: Seconds a check or a read may take. A check that takes longer is denied.

        Raises:
            InputError: The endpoint or the time-out is not usable.
        """
        self._path = resolve_endpoint(endpoint)
        self._timeout_s = timeout_of(timeout)
        # Taking from and putting into a deque is atomic: no lock that a fork or a signal could find held.
        self._idle: deque[Connection] = deque()

    def check(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        at_least: int = 0,
        explain: bool = False,
        timeout: float | None = None,
    ) -> Verdict:
        """Ask whether `principal` may do `action` on `resource` now.

        Never raises: whatever goes wrong, here or in the node, gives a `Deny`.

        Args:
            principal: Cedar entity uid, such as `Agent::"ci-bot"`; `action` and `resource` likewise.
            action: See `principal`.
            resource: See `principal`.
            context: JSON object in Cedar's value format.
            at_least: Accept only a verdict on this seq or a later one, such as the `certified_seq` of a receipt.
            explain: Name the policies that determined a denial.
            timeout: Seconds, in place of the client's.

        Returns:
            `Allow`, true until its `valid_until`, or `Deny` with its reason.
        """
        # SAFETY: nothing that goes wrong may leave the caller without a denial
        # (test_hostile_node.py::test_every_hostile_answer_denies).
        try:
            question = ask_check(principal, action, resource, context, at_least=at_least, explain=explain)
            return self._ask(question, self._timeout_for(timeout))
        except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
            return deny_for(error)

    def check_many(
        self,
        requests: Iterable[Asked],
        *,
        at_least: int = 0,
        explain: bool = False,
        timeout: float | None = None,
    ) -> list[Verdict]:
        """Ask many at once. Verdicts may rest on different seqs; each says on which.

        Args:
            requests: `Request`s, mappings of its fields, or tuples (principal, action, resource[, context]).
            at_least: As for `check`.
            explain: As for `check`.
            timeout: Seconds for all of them together, in place of the client's.

        Returns:
            One verdict for each request, in order. What goes wrong gives a `Deny`; only an exception of the
            iterable itself is passed on. An allow that ran out while the others were asked is asked for again, a
            few times.
        """
        asked = list(requests)
        plan = ask_many(asked, at_least=at_least, explain=explain)
        try:
            deadline = deadline_in(self._timeout_for(timeout))
            question = next(plan)
            while True:
                answers: list[Verdict] | Exception
                try:
                    answers = self._ask_until(question, deadline)
                except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
                    answers = error
                question = plan.send(answers)
        except StopIteration as done:
            verdicts: list[Verdict] = done.value
            return verdicts
        except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
            return [deny_for(error) for _ in asked]

    def require(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        at_least: int = 0,
        explain: bool = False,
        timeout: float | None = None,
    ) -> Allow:
        """Like `check`, but raises unless execution may start now.

        Raises:
            Denied: It may not. `verdict` is the `Deny`.
        """
        return insist(
            self.check(principal, action, resource, context, at_least=at_least, explain=explain, timeout=timeout)
        )

    def submit(
        self,
        envelope: bytes,
        *,
        wait: Wait = "effective",
        timeout: float = 30.0,
        retry: bool = False,
        at_least: int = 0,
    ) -> Receipt:
        """Hand in a signed command.

        Args:
            envelope: DSSE JSON.
            wait: `effective`: until no node gives an allow on an older state any more. `committed`: until
                its place in the log is safe. `none`.
            timeout: Seconds.
            retry: This very envelope was handed in before and its outcome is unknown: if it has taken its place, answer
                with what became of it. Without, that is refused as a replay, `duplicate_command`.
            at_least: Take a refusal only by this seq or a later one, such as the `certified_seq` of a receipt.

        Raises:
            RejectedError: Refused; `code` says why. With `retry` it is `definite` only if it comes from the log.
            AvailabilityError: Not done, or, if not `definite`, the outcome is unknown: submit the same envelope
                again, with `retry`.
            InputError: Not usable.
            GovraftError: The node's answer is not usable; the outcome is unknown.
        """
        timeout_s = timeout_of(timeout)
        question = ask_submit(envelope, wait=wait, timeout_s=timeout_s, retry=retry, at_least=at_least)
        try:
            return self._ask(question, timeout_s + _GRACE_S)
        except GovraftError as error:
            count_tries(error, retry=retry)
            raise

    def authorize(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        ttl: float = 300.0,
        single_use: bool = False,
        audience: str | None = None,
        at_least: int = 0,
        timeout: float = 10.0,
    ) -> Permit:
        """Get a portable permit, signed by a quorum: it verifies offline, from the genesis alone.

        Args:
            principal: As for `check`; `action`, `resource` and `context` likewise.
            action: See `principal`.
            resource: See `principal`.
            context: See `principal`.
            ttl: How long it shall live: 1 to 300 seconds. What is revoked meanwhile does not end it.
            single_use: It must be redeemed, and can be redeemed once.
            audience: Whom it is for; None for anybody.
            at_least: Accept only a permit on this seq or a later one.
            timeout: Seconds.

        Raises:
            Denied: There is none, whatever the reason; `verdict` says it, `denial` is the file of the signed one.
        """
        # SAFETY: as in `check`: whatever goes wrong is a denial
        # (test_client_permits.py::test_every_failure_to_authorize_is_a_denial).
        try:
            timeout_s = timeout_of(timeout)
            question = ask_authorize(
                principal,
                action,
                resource,
                context,
                ttl_s=ttl,
                single_use=single_use,
                audience=audience,
                at_least=at_least,
                timeout_s=timeout_s,
            )
            return self._ask(question, timeout_s + _GRACE_S)
        except Denied:
            raise
        except Exception as error:
            raise Denied(deny_for(error)) from error

    def check_signed(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        at_least: int = 0,
        timeout: float | None = None,
    ) -> SignedVerdict:
        """As `check`; a denial comes with the node's signature, as a file that can be verified offline.

        Never raises: whatever goes wrong gives a `Deny`, then without a signature.
        """
        try:
            question = ask_signed(principal, action, resource, context, at_least=at_least)
            return self._ask(question, self._timeout_for(timeout))
        except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
            return SignedVerdict(deny_for(error))

    def redeem(self, permit: bytes, *, timeout: float = 30.0) -> Redeemed:
        """Use up a single-use permit, given as its file: only then is it good for one execution.

        Returns:
            The receipt, and the command that it is for. From then on the permit is used, in the whole cluster.

        Raises:
            RejectedError: It is used already, or void: `permit_used`, `permit_void`, `evidence_invalid`.
            AvailabilityError: Not done, or, if not `definite`, the outcome is unknown: take it as used.
            GovraftError: Not usable input, or an answer that is not usable.
        """
        timeout_s = timeout_of(timeout)
        return self._ask(ask_redeem(permit, timeout_s=timeout_s), timeout_s + _GRACE_S)

    def read(self, what: str, **params: Any) -> Any:
        """Read governance state, such as `status`, `policies` or `lineage`.

        Raises:
            GovraftError: Unknown `what`, unusable parameters, or the node does not answer.
        """
        return self._ask(ask_read(what, params), self._timeout_s)

    def status(self) -> dict[str, Any]:
        """The node's own account of itself.

        Raises:
            GovraftError: The node does not answer.
        """
        found = self.read("status")
        return dict(found) if isinstance(found, dict) else {"status": found}

    def watch(self) -> Iterator[dict[str, Any]]:
        """The node's events, as they come, on a connection of its own.

        Raises:
            AvailabilityError: The node went away, or ended the watch.
        """
        connection = Connection(self._path, deadline_in(self._timeout_s))
        try:
            question = ask_watch()
            deadline = deadline_in(self._timeout_s)
            call_id = connection.send(question, deadline)
            question.judge(connection.receive(deadline), call_id)
            while True:
                yield event_in(connection.receive(None), call_id)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the idle connections. The client stays usable."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def __enter__(self) -> Self:
        """Use as a context manager: closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _timeout_for(self, timeout: float | None) -> float:
        return self._timeout_s if timeout is None else timeout_of(timeout)

    def _ask(self, question: Question[T], timeout_s: float) -> T:
        return self._ask_until(question, deadline_in(timeout_s))

    def _ask_until(self, question: Question[T], deadline: float) -> T:
        # What changes something goes over a new connection: on an old one, nobody could tell whether it arrived.
        connection = self._take_idle() if question.repeatable else None
        if connection is not None:
            try:
                return self._ask_on(connection, question, deadline)
            except StaleConnectionError:
                # The node was restarted, and so are all the other idle ones.
                self.close()
        return self._ask_on(Connection(self._path, deadline), question, deadline)

    def _ask_on(self, connection: Connection, question: Question[T], deadline: float) -> T:
        try:
            answer = connection.ask(question, deadline)
        except BaseException:
            # Nobody knows what is still on its way.
            connection.close()
            raise
        if len(self._idle) < _IDLE_CONNECTIONS_MAX:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _take_idle(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable:
                return connection
            connection.close()
