"""Fetch one file of known sha256; nothing is given back before its bytes are verified."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
import urllib3

from podbuild.build.toolchain.record import file_digest
from podbuild.errors import ToolError
from podbuild.system.files import move
from podbuild.system.retry import Retry, Transient

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_BLOCK = 1 << 16  # bytes; what a break can cost
_PATIENCE = 60.0  # seconds, before a download must have brought its bytes
_SLOWEST = 4096.0  # bytes a second, from then on
_LONGEST = 1 << 30  # bytes of an archive
_RESUME_OK = 206
_RANGE_REFUSED = 416


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
    download: Download, target: Path, *, retry: Retry, check: Callable[[], None] = lambda: None
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
        retry(lambda: _stream(download.url, part, check))
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


def _stream(url: str, part: Path, check: Callable[[], None]) -> None:
    """Append what is missing of the file."""
    shown = without_login(url)
    begin = part.stat().st_size if part.exists() else 0
    with requests.Session() as session:
        session.auth = _no_credentials  # never those of a .netrc
        headers = {"Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        try:
            answer = session.get(
                url, headers=headers, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)
            )
        except requests.RequestException as error:
            raise UnreachableError(
                f"{urlsplit(shown).netloc} does not answer: {_cause(error)}"
            ) from None
        with answer:
            if answer.status_code == _RANGE_REFUSED:
                part.unlink()
                raise Transient(ToolError(f"{shown}: can't be continued"))
            _expect(answer, shown)
            mode = "ab" if answer.status_code == _RESUME_OK else "wb"
            try:
                with part.open(mode) as file:
                    # As sent: a Content-Encoding would only make more of it.
                    late = time.monotonic() + _PATIENCE
                    while block := answer.raw.read1(_BLOCK, decode_content=False):
                        check()
                        file.write(block)
                        late += len(block) / _SLOWEST
                        if time.monotonic() > late:
                            raise Transient(UnreachableError(f"{shown}: comes too slowly"))
                        if file.tell() > _LONGEST:
                            raise ToolError(f"{shown}: longer than {_LONGEST} bytes")
                if answer.raw.length_remaining:
                    raise Transient(
                        UnreachableError(f"{shown}: broke off: the connection was closed early")
                    )
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise Transient(UnreachableError(f"{shown}: broke off: {_cause(error)}")) from None


def _expect(answer: requests.Response, url: str) -> None:
    if answer.ok:
        return
    failure = UnreachableError(f"{url}: HTTP {answer.status_code} {answer.reason}")
    if answer.status_code in (408, 429) or answer.status_code >= 500:  # noqa: PLR2004  # HTTP
        raise Transient(failure)
    raise failure


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _cause(error: Exception) -> str:
    match error:
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "its certificate is not trusted"
        case requests.exceptions.ChunkedEncodingError() | urllib3.exceptions.ProtocolError():
            return "the connection was closed early"
        case _:
            return "connection failed"
