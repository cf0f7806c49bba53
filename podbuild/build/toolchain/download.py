"""Fetch one file of known sha256; nothing is given back before its bytes are verified."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from podbuild.errors import PublishError, ToolError
from podbuild.oci.transport.endpoint import Timeouts, WayOut
from podbuild.oci.transport.http import Call, Http
from podbuild.oci.transport.problem import REDIRECTS, Response, absolute
from podbuild.system.files import file_digest, move
from podbuild.system.retry import Retry, Transient

_PATIENCE = 60.0  # seconds, before a download must have brought its bytes
_SLOWEST = 4096.0  # bytes a second, from then on
_DIRECT = WayOut()
_LONGEST = 1 << 30  # bytes of an archive
_RESUME_OK = 206
_RANGE_REFUSED = 416
_MOST_REDIRECTS = 5


class UnreachableError(ToolError):
    """Nothing answers at an address, or it does not have the file."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to fetch: a URL, a `file:` URL or a path, and the sha256 that it must have."""

    url: str
    sha256: str  # hex


def without_login(url: str) -> str:
    """Give a URL for people and records: without user info and query, which may be secrets.

    >>> without_login("https://me:p@ss@mirror.example:8443/a.tar.gz?token=x")
    'https://mirror.example:8443/a.tar.gz'
    """
    if urlsplit(url).scheme not in ("http", "https"):
        return url
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if "@" in path.partition("?")[0] and ":" in place and "@" not in place:
        place, slash, path = rest.rpartition("@")[2].partition("/")  # a password with a slash
    parts = urlsplit(f"{scheme}://{place.rpartition('@')[2]}{slash}{path}")
    return urlunsplit(parts._replace(query="", fragment=""))


def fetch(
    download: Download,
    target: Path,
    *,
    retry: Retry,
    network: WayOut = _DIRECT,
    check: Callable[[], None] = lambda: None,
) -> Path:
    """Give `target` with the download's bytes; one that is there and right is not fetched again.

    What a killed run left is continued. `check` is called per block and may raise. Raises
    UnreachableError, or ToolError when the bytes are not the expected ones.
    """
    if target.is_file() and file_digest(target) == download.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    if urlsplit(download.url).scheme in ("http", "https"):
        timeouts = Timeouts(connect=5.0, read=30.0, body=_PATIENCE, slow=_SLOWEST)
        http = Http(replace(network, timeouts=timeouts))
        try:
            retry(lambda: _stream(download.url, part, http, check))
        finally:
            http.close()
    else:
        _copy(download.url, part)
    found = file_digest(part)
    if found != download.sha256:
        part.unlink()
        raise ToolError(
            f"{without_login(download.url)}: wrong checksum, sha256 is {found}, "
            f"expected {download.sha256}",
            hint="nothing was installed; try again, and report it if it stays so",
        )
    move(part, target)
    return target


def _copy(url: str, part: Path) -> None:
    split = urlsplit(url)
    source = Path(unquote(split.path) if split.scheme == "file" else url)
    try:
        shutil.copyfile(source, part)
    except OSError as error:
        raise UnreachableError(f"can't read {source}: {error.strerror}") from None


def _stream(url: str, part: Path, http: Http, check: Callable[[], None]) -> None:
    """Append what is missing of the file."""
    shown = without_login(url)
    begin = part.stat().st_size if part.exists() else 0
    with _answer(http, url, begin) as (answer, pieces):
        if answer.status == _RANGE_REFUSED:
            part.unlink()
            raise Transient(ToolError(f"{shown}: can't be continued"))
        _expect(answer, shown)
        with part.open("ab" if answer.status == _RESUME_OK else "wb") as file:
            try:
                for piece in pieces:
                    check()
                    file.write(piece)
                    if file.tell() > _LONGEST:
                        raise ToolError(f"{shown}: longer than {_LONGEST} bytes")
            except (Transient, PublishError) as failure:
                problem = f"{shown}: broke off: {_reason(failure)}"
                raise Transient(UnreachableError(problem)) from None


@contextmanager
def _answer(http: Http, url: str, begin: int) -> Iterator[tuple[Response, Iterator[bytes]]]:
    """Give the answer, redirects followed; a login that stands in the URL goes nowhere."""
    query = urlsplit(url).query
    target = without_login(url) + (f"?{query}" if query else "")
    headers = {"Range": f"bytes={begin}-"} if begin else {}
    with ExitStack() as stack:
        try:
            call = Call(method="GET", url=target, headers=headers, eager=True)
            answer, pieces = stack.enter_context(http.stream(call))
            for _ in range(_MOST_REDIRECTS):
                if answer.status not in REDIRECTS:
                    break
                stack.pop_all().close()
                call = replace(call, url=absolute(call.url, answer.header("location")))
                answer, pieces = stack.enter_context(http.stream(call))
        except (Transient, PublishError) as failure:
            host = urlsplit(without_login(url)).netloc
            raise UnreachableError(f"{host} does not answer: {_reason(failure)}") from None
        yield answer, pieces


def _expect(answer: Response, url: str) -> None:
    if answer.status in (200, _RESUME_OK):
        return
    named = {each.value: f" {each.phrase}" for each in HTTPStatus}
    failure = UnreachableError(f"{url}: HTTP {answer.status}{named.get(answer.status, '')}")
    if answer.status in (408, 429) or answer.status >= 500:  # noqa: PLR2004  # HTTP
        raise Transient(failure)
    raise failure


def _reason(error: Exception) -> str:
    """Give what is wrong without the request, which names each host on the way."""
    return str(error).split(": ", 2)[-1]
