"""One registry host: requests with login, retries, a breaker and counts.

`RegistryStore` and the removal of manifests stand on this. A path is given as `/v2/...`, or as
the absolute URL of a Location; a login only ever goes to the registry's own origin.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from podbuild.errors import PodbuildError, PublishError
from podbuild.oci.auth.files import AccessScope, Credential
from podbuild.oci.auth.tokens import Authorizer
from podbuild.oci.manifest import Holders, KnownManifests, Presence
from podbuild.oci.transport.endpoint import Conduct, Counts, Endpoint, Pace, WayOut
from podbuild.oci.transport.http import Call, Http
from podbuild.oci.transport.problem import (
    REDIRECTS,
    Recovery,
    RegistryError,
    Response,
    absolute,
    next_page,
    origin,
    read_problem,
)
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Breaker, Transient, Unreachable

_LOOK = 0.2  # seconds between two looks whether work must stop, while another uploads


class Turns:
    """Lets one thread at a time do something, so that the next ones find it done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    @contextmanager
    def turn(self, what: str, cancel: Cancel) -> Iterator[None]:
        """Wait for one's turn at `what` (a blob that goes up, a right that is asked for)."""
        with self._lock:
            turn = self._turns.setdefault(what, threading.Lock())
        while not turn.acquire(timeout=_LOOK):
            cancel.check()
        try:
            yield
        finally:
            turn.release()


T = TypeVar("T")
_MAX_REDIRECTS = 5
_MAX_PAGES = 10_000
_PAGE_CAP = 16 * 1024 * 1024  # bytes; some registries ignore n and list all tags at once
_UNHEARD_TRIES = 2  # of an optional registry that has not answered yet
_TOO_MANY = 429
_OVERLOADED = 503


class RegistryClient:
    """Talks to one registry with one login. Safe to share between threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        credential: Credential | None = None,
        *,
        conduct: Conduct | None = None,
        network: WayOut | None = None,
        connections: int = 16,
        manifests: KnownManifests | None = None,
        pace: Pace | None = None,
    ) -> None:
        conduct = conduct or Conduct()
        network = network or WayOut()
        if endpoint.ca:
            network = replace(network, ca_files=(*network.ca_files, endpoint.ca))
        self.endpoint = endpoint
        self.cancel = conduct.cancel
        self.holders: Holders = Holders()
        self.turns = Turns()
        self.listed: set[str] = set()  # repositories that have answered with their tags
        self.pushable: set[str] = set()  # where this login may push
        self.manifests = manifests or KnownManifests()
        self.stored = KnownManifests()  # what was stored here, of registries that count reading
        self.held = Presence()
        self.answers_head = False  # has shown a manifest's head
        self._pace = pace or Pace()
        self._sleep = conduct.sleep
        self._retry = conduct.retrying(self._count)
        self._http = Http(network, connections=connections)
        self._auth = Authorizer(
            self._http, endpoint.origin, credential, on_secret=conduct.on_secret
        )
        self._breaker = Breaker(endpoint.host)
        self._lock = threading.Lock()
        self._counts = Counts()
        self._has_answered = False
        self._has_served = False  # has answered as a registry does

    @property
    def counts(self) -> Counts:
        """Give what went over the wire so far."""
        return self._counts

    @property
    def anonymous(self) -> bool:
        """Tell whether there is no login."""
        return self._auth.credential is None

    def request(
        self,
        method: str,
        path: str,
        *,
        scopes: tuple[AccessScope, ...] = (),
        ok: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        cap: int = _PAGE_CAP,
    ) -> Response:
        """Give the answer if its status is in `ok`; failures that may pass are retried.

        Raises RegistryError (`problem` says what the registry said; also unreachable, as
        PublishError) and CredentialError (401, 403), both only for a status not in `ok`.
        """
        call = Call(method=method, url=self.url(path), headers=headers or {}, body=body, cap=cap)
        return self.guarded(lambda: self.once(call, scopes=scopes, ok=ok))

    def pages(
        self, path: str, *, scopes: tuple[AccessScope, ...] = (), whole: bool = False
    ) -> Iterator[Response]:
        """Give each page of a listing, by its Link header; a page that was there already ends it.

        With `whole` such a one is an error, as it may hide the rest. A 404 on the first page gives
        nothing. Raises as `request` does.
        """
        seen = {self.url(path)}
        response = self.request("GET", path, scopes=scopes, ok=(200, 404))
        while response.status == 200:
            yield response
            following = self.following(response)
            if not following or (following in seen and not whole):
                return
            if following in seen or len(seen) >= _MAX_PAGES:
                raise PublishError(f"{self.endpoint.host}: the list of pages does not end")
            seen.add(following)
            response = self.request("GET", following, scopes=scopes, ok=(200,))

    def following(self, response: Response) -> str:
        """Give the URL of the next page, empty on the last; raises PublishError for a bad one."""
        named = next_page(response)
        found = self._resolved(response, named) if named else ""
        if found and not self.is_own(found):
            raise PublishError(f"{self.endpoint.host}: bad next page {found[:200]!r}")
        return found

    def url(self, path: str) -> str:
        """Give the absolute URL of a path."""
        return urljoin(self.endpoint.origin, path)

    def location(self, response: Response) -> str:
        """Give the absolute URL of a Location header; raises PublishError where it is bad."""
        if not response.header("location"):
            raise PublishError(f"{self.endpoint.host}: an answer without a usable Location")
        return self._resolved(response, response.header("location"))

    def _resolved(self, response: Response, reference: str) -> str:
        """Give the absolute URL that an answer names.

        A proxy that ends TLS often makes registries name their own host with http.
        """
        here = urlsplit(self.endpoint.origin)
        target = absolute(response.url, reference)
        there = urlsplit(target)
        if there.scheme not in ("http", "https"):
            raise PublishError(f"{self.endpoint.host}: sends us to {reference[:200]!r}, no address")
        if (here.scheme, there.scheme) == ("https", "http"):
            if there.hostname != here.hostname:
                raise PublishError(f"{self.endpoint.host}: sends us to {there.netloc} without TLS")
            return urlunsplit(there._replace(scheme="https", netloc=here.netloc))
        return target

    def is_own(self, url: str) -> bool:
        """Tell whether a URL is on the registry's own origin, the one a login may go to."""
        return origin(url) == origin(self.endpoint.origin)

    def guarded(self, action: Callable[[], T]) -> T:
        """Run an action with retries behind the breaker."""
        self._breaker.check()
        passing: list[Exception] = []

        def watched() -> T:
            self.cancel.check()
            try:
                return action()
            except Transient as failure:
                passing.append(failure.cause)
                if self._is_unheard(failure) and len(passing) >= _UNHEARD_TRIES:
                    raise failure.cause from failure.cause.__cause__
                raise

        try:
            result = self._retry(watched)
        except PodbuildError as error:
            if passing and passing[-1] is error:
                self._breaker.failed(error)
            else:
                self._breaker.answered()
            raise
        self._breaker.answered()
        return result

    def _is_unheard(self, failure: Transient) -> bool:
        """Tell whether a release can do without this registry, which has never answered."""
        unheard = isinstance(failure, Unreachable) and not self._has_answered
        return unheard and self.endpoint.optional

    def once(self, call: Call, *, scopes: tuple[AccessScope, ...], ok: tuple[int, ...]) -> Response:
        """Send one request, again only after a 401, and follow redirects of reads.

        Raises Transient where another try may help; otherwise as `request` does.
        """
        answer = self._http_once(call, scopes)
        for _ in range(_MAX_REDIRECTS):
            if answer.status not in REDIRECTS or call.method not in ("GET", "HEAD"):
                break
            call = replace(call, url=self.location(answer))
            answer = self._http_once(call, scopes)
        if answer.status in ok and not answer.is_html:
            return answer
        raise self.failure(answer)

    @contextmanager
    def stream(
        self, call: Call, *, scopes: tuple[AccessScope, ...], ok: tuple[int, ...]
    ) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Give the head and the pieces of one GET, redirects followed; raises as `once` does."""
        with ExitStack() as stack:
            used = self._authorization(call, scopes)
            head, pieces = stack.enter_context(self._opened(_with(call, used)))
            for _ in range(_MAX_REDIRECTS):
                if head.status == 401 and self.is_own(call.url):
                    self._auth.learn(head, scopes, used)
                elif head.status in REDIRECTS:
                    call = replace(call, url=self.location(head))
                else:
                    break
                stack.pop_all().close()
                used = self._authorization(call, scopes)
                head, pieces = stack.enter_context(self._opened(_with(call, used)))
            if head.status not in ok:
                raise self.failure(replace(head, body=next(pieces, b"")))
            yield head, self._received(pieces)

    def failure(self, answer: Response) -> Exception:
        """Give the error for an answer; Transient where another try may help."""
        host = self.endpoint.host
        problem = read_problem(answer)
        own, place = self.is_own(answer.url), urlsplit(answer.url)
        where = f"{host}: {answer.method} {'' if own else place.netloc}{place.path}"
        if problem.is_refusal and own and not answer.is_html:  # elsewhere the login was not seen
            return self._auth.refused(answer)
        if answer.status in REDIRECTS:
            return RegistryError(
                f"{where}: sends us to {answer.header('location')[:200]}",
                problem,
                hint="name that registry in the configuration",
            )
        if self.endpoint.insecure and own and answer.wants_tls:
            return RegistryError(
                f"{where}: the server speaks TLS",
                problem,
                hint='leave insecure = true out, and name its authority with ca = "..."',
            )
        if answer.is_html and problem.recovery is Recovery.NONE:
            page = RegistryError(
                f"{host if own else place.netloc} answers with a web page ({answer.status}) "
                "where a registry should be",
                problem,
                hint="check the host in `repository`; a proxy or a login page may be in the way",
            )
            passing = self._has_served and answer.status < 300  # a maintenance page, say
            return Transient(page) if passing else page
        error = RegistryError(f"{where}: {problem}", problem, hint=problem.hint)
        if problem.recovery is Recovery.REQUEST:
            return Transient(error, wait=problem.wait)
        return error

    def wait(self, attempt: int, failure: Transient) -> None:
        """Wait before another try of something that is not one request (a broken download)."""
        pause = self._retry.delay(attempt, failure.wait)
        if pause > self._retry.longest:
            raise failure.cause from failure
        self._retry.on_retry(failure.cause, pause)
        self._retry.sleep(pause)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def count_sent(self, count: int) -> None:
        """Add bytes that went out."""
        self._count(Counts(sent=count))

    def count_mounted(self) -> None:
        """Add a blob that another repository lent."""
        self._count(Counts(mounted=1))

    def _http_once(self, call: Call, scopes: tuple[AccessScope, ...]) -> Response:
        used = self._authorization(call, scopes)
        answer = self._send(_with(call, used))
        for _ in range(2):  # first to learn how to log in, then for an expired or too small token
            if answer.status != 401 or not self.is_own(call.url):
                break
            self._auth.learn(answer, scopes, used)
            used = self._authorization(call, scopes)
            answer = self._send(_with(call, used))
        return answer

    def _authorization(self, call: Call, scopes: tuple[AccessScope, ...]) -> str:
        return self._auth.header(scopes, call.method) if self.is_own(call.url) else ""

    def may_push(self, scope: AccessScope) -> bool:
        """Tell whether the registry has said already that this login may push there."""
        return self._auth.grants(scope)

    @contextmanager
    def _opened(self, call: Call) -> Iterator[tuple[Response, Iterator[bytes]]]:
        self._pace.wait(self._sleep)
        self._count(Counts(requests=1))
        with self._http.stream(call) as (head, pieces):
            self._heed(head)
            yield head, pieces

    def _send(self, call: Call) -> Response:
        self._pace.wait(self._sleep)
        self._count(Counts(requests=1))
        answer = self._http.send(call)
        self._has_answered = True
        self._has_served = self._has_served or (answer.status < 300 and not answer.is_html)
        self._heed(answer)
        self._count(Counts(received=len(answer.body)))
        return answer

    def _heed(self, answer: Response) -> None:
        """Let everybody's pace follow: 503 with a Retry-After says the same as 429.

        Nobody waits for hours: the request fails that was told so.
        """
        wait = read_problem(answer).wait if answer.status in (_TOO_MANY, _OVERLOADED) else None
        if answer.status == _TOO_MANY or wait is not None:
            self._pace.complained(wait if wait and wait <= self._retry.longest else 0.0)
        elif answer.status != _OVERLOADED:
            self._pace.pleased()

    def _received(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.cancel.check()
            self._count(Counts(received=len(piece)))
            yield piece

    def _count(self, more: Counts) -> None:
        with self._lock:
            self._counts += more


def _with(call: Call, authorization: str) -> Call:
    if not authorization:
        return call
    return replace(call, headers={**call.headers, "Authorization": authorization})
