"""Which authorities a TLS connection trusts: the system's, and those that a user names."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from podbuild.errors import ConfigError

_SYSTEM_CAS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@cache
def tls_context(authorities: tuple[str, ...]) -> ssl.SSLContext:
    """Trust the system's authorities (certifi's where there are none) and the given PEM texts.

    All clients share one: reading the system's takes 60 ms.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(_systems())
    for pem in authorities:
        context.load_verify_locations(cadata=pem)
    return context


def read_authorities(files: tuple[Path, ...]) -> tuple[str, ...]:
    """Give the PEM text of each file but the system's own, which SSL_CERT_FILE often names.

    Raises ConfigError for a file that can't be read as certificates.
    """
    return tuple(_read(path) for path in files if not _is_systems(path))


@cache
def _read(path: Path) -> str:
    try:
        pem = path.read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path}: can't be read as certificates: {reason[:1].lower() + reason[1:]}",
            hint="`ca` names a file with certificates in PEM form",
        ) from None
    return pem


def _systems() -> str:
    found = next((path for path in _SYSTEM_CAS if Path(path).is_file()), "")
    if found:
        return found
    import certifi  # noqa: PLC0415  # requests brings it; most systems need it not

    return certifi.where()


def _is_systems(path: Path) -> bool:
    try:
        return path.samefile(_systems())
    except OSError:
        return False
