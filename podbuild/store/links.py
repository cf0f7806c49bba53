"""Addresses that a server's answer names: the next page of a list, and where things moved."""

from __future__ import annotations

import re
from urllib.parse import urldefrag, urljoin, urlsplit

from podbuild.errors import PublishError
from podbuild.store.problem import Response

_LINK = re.compile(r'<([^<>]*)>\s*((?:;[^,;"]*(?:"[^"]*")?)*)')
_IS_NEXT = re.compile(r';\s*rel\s*=\s*"?(?:[^"]*\s)?next(?=[\s";]|$)', re.IGNORECASE)


def next_page(response: Response) -> str:
    """Give the URL of the next page (RFC 8288, rel="next"); empty on the last one.

    Raises PublishError where it is no URL.
    """
    for link in _LINK.finditer(response.header("link")):
        if _IS_NEXT.search(link[2]):
            return absolute(response.url, str(link[1]))
    return ""


def absolute(base: str, reference: str) -> str:
    """Give the URL that an answer names; raises PublishError where it can be none."""
    try:
        found = urldefrag(urljoin(base, reference)).url  # a fragment never goes over the wire
        origin(found)  # a port that is none shows only when it is read
    except ValueError as error:
        raise PublishError(
            f"{urlsplit(base).netloc}: names the address {reference[:200]!r}: {error}"
        ) from None
    return found


def origin(url: str) -> tuple[str, str, int | None]:
    """Give scheme, host and port of a URL; raises ValueError for a port that is none."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port
