"""The JSON APIs beside a registry (Docker Hub's, GitHub's): requests, retries, limits, pace.

No redirect is followed: a login goes to the API's own origin and nowhere else.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from podbuild.errors import CleanupError, CredentialError
from podbuild.oci.transport.endpoint import Conduct, Counts, Pace, WayOut
from podbuild.oci.transport.http import Call, Http
from podbuild.oci.transport.problem import (
    Recovery,
    RegistryError,
    Response,
    read_problem,
    server_time,
    whole_number,
)
from podbuild.system.records import JSONValue
from podbuild.system.retry import Transient

_CAP = 32 * 1024 * 1024  # bytes of one answer
_MAX_PAGES = 5_000
_THIN_PAGES = 100  # of a list, after which they must have held so many bytes each:
_THIN = 1000
_SECONDARY_WAIT = 60.0  # seconds; GitHub: "wait for at least one minute"


class RestClient:
    """Talks to one API. Safe to share between threads."""

    def __init__(
        self,
        base: str,
        *,
        conduct: Conduct,
        network: WayOut,
        headers: Mapping[str, str] | None = None,
        deletes_per_minute: float = 180.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.base = base.rstrip("/")
        self.host = urlsplit(base).netloc
        self._http = Http(network, connections=8)
        self._cancel = conduct.cancel
        self._clock = clock
        self._retry = conduct.retrying(self._count)
        self._pace = Pace(deletes_per_minute / 60)
        self._sleep = conduct.sleep
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._lock = threading.Lock()
        self._counts = Counts()
        self.remaining: int | None = None  # calls left, as the API last told
        self.now: datetime | None = None  # as it last told

    @property
    def counts(self) -> Counts:
        """Give what went over the wire so far."""
        return self._counts

    def request(
        self,
        method: str,
        path: str,
        *,
        authorization: str = "",
        login: Mapping[str, str] | None = None,
        body: JSONValue = None,
        ok: tuple[int, ...] = (200,),
        once: bool = False,
    ) -> Response:
        """Give the answer if its status is in `ok`; what may pass is retried, limits waited for.

        `login` are headers that log in where `authorization` is not the one; `once` is for what
        must not be done twice.

        Raises RegistryError, CredentialError (401, 403), PublishError (unreachable).
        """
        if method == "DELETE":
            self._pace.wait(self._sleep)
        headers = {**self._headers, **({"Authorization": authorization} if authorization else {})}
        headers |= login or {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        call = Call(
            method=method,
            url=self.url(path),
            headers=headers,
            body=b"" if body is None else json.dumps(body).encode(),
            cap=_CAP,
        )
        retry = replace(self._retry, attempts=1) if once else self._retry
        return retry(lambda: self._once(call, ok))

    def pages(
        self,
        path: str,
        following: Callable[[Response], str],
        ask: Callable[[str], Response],
    ) -> Iterator[Response]:
        """Give each page; raises CleanupError where the chain of pages is broken.

        A page that was there already would hide the rest, so it is an error.
        """
        seen: set[str] = set()
        size = 0
        while path:
            url = self.url(path)
            thin = len(seen) > _THIN_PAGES and size < len(seen) * _THIN
            if url in seen or len(seen) >= _MAX_PAGES or thin:
                raise CleanupError(f"{self.host}: the list of pages does not end ({path[:200]})")
            seen.add(url)
            page = ask(path)
            size += len(page.body)
            yield page
            path = following(page)

    def url(self, path: str) -> str:
        """Give the absolute URL; raises CleanupError for one of another host.

        A page's link may name the host with another scheme (behind a proxy that ends TLS).
        """
        if not path.startswith(("http://", "https://")):
            return f"{self.base}{path}"
        here, there = urlsplit(self.base), urlsplit(path)
        if here.netloc != there.netloc:
            raise CleanupError(f"{self.host}: sends us to {there.netloc}")
        return urlunsplit(there._replace(scheme=here.scheme))

    def failure(self, answer: Response) -> Exception:
        """Give the error for an answer; Transient where another try may help."""
        problem = read_problem(answer)
        error = RegistryError(
            f"{self.host}: {answer.method} {urlsplit(answer.url).path}: {problem}", problem
        )
        wait = limit_wait(answer, self._time(answer))
        if wait is not None:
            return Transient(error, wait=wait)
        if problem.recovery is Recovery.REQUEST:
            return Transient(error, wait=problem.wait)
        if answer.status in (401, 403):
            return CredentialError(error.message, hint="check the token and its rights")
        return error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _once(self, call: Call, ok: tuple[int, ...]) -> Response:
        self._cancel.check()
        self._count(Counts(requests=1))
        answer = self._http.send(call)
        left = whole_number(answer.header("x-ratelimit-remaining"))
        if left is not None:
            self.remaining = left
        self.now = server_time(answer) or self.now
        if limit_wait(answer, self._time(answer)) is None and answer.status in ok:
            return answer
        raise self.failure(answer)

    def _time(self, answer: Response) -> float:
        """Give the time that the API's limits go by (seconds since 1970)."""
        told = server_time(answer)
        return told.timestamp() if told else self._clock()

    def _count(self, more: Counts) -> None:
        with self._lock:
            self._counts += more


def limit_wait(answer: Response, now: float) -> float | None:
    """Give the seconds that a rate limit asks to wait; None where there is no sign of one.

    GitHub answers 403 as well as 429; only the evidence tells it from a missing right.
    """
    if answer.status not in (403, 429):
        return None
    problem = read_problem(answer, datetime.fromtimestamp(now, UTC))
    if problem.wait is not None:
        return problem.wait
    if answer.header("x-ratelimit-remaining") == "0":
        reset = whole_number(answer.header("x-ratelimit-reset"))
        return _SECONDARY_WAIT if reset is None else max(0.0, reset - now)
    if "secondary rate limit" in problem.message.lower():
        return _SECONDARY_WAIT
    return 0.0 if answer.status == 429 else None


def timestamp(value: object) -> datetime | None:
    """Read a time as these APIs write it; None for anything else, also one without a zone."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None
