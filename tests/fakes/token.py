"""A strict token server (distribution, docs/content/spec/auth) for a real registry's token auth.

It signs tokens that Debian's docker-registry accepts, refuses wrong logins, and records what it
was asked. Rights that a user lacks are left out of the token, which is no error.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.registries import certificate_for

SERVICE = "a registry, with spaces"
ISSUER = "podbuild test tokens"
LEEWAY = 120  # seconds; the registry still takes tokens that ended 60 s ago


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request for a token."""

    method: str
    user: str  # empty: nobody
    scopes: tuple[str, ...]
    client: str = ""


@dataclass(kw_only=True)
class TokenServer:
    """A running token server. `rights` gives each user's actions by repository."""

    certificate: Path
    key: Path
    passwords: Mapping[str, str] = field(default_factory=dict)
    refresh_tokens: Mapping[str, str] = field(default_factory=dict)  # token -> user
    rights: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    expires_in: int | None = 300
    lacking: int = 200  # the answer's status where a user lacks a right that is asked for
    dead_tokens: int = 0  # so many of the next tokens have ended long ago
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def realm(self) -> str:
        """Give a realm with what breaks careless parsers."""
        return f"http://127.0.0.1:{self.port}/token?from=a,b"

    @property
    def configuration(self) -> dict[str, str]:
        """Give the registry's configuration of token auth."""
        return {
            "realm": self.realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self.certificate),
        }

    def sign(self, user: str, scopes: tuple[str, ...], until: float) -> str:
        """Give a token with the rights that the user has of those asked for."""
        access = [self._granted(user, scope) for scope in scopes]
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        der = certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": int(until),
            "nbf": int(until) - 1000,
            "iat": int(until) - 1000,
            "jti": f"token-{len(self.asked)}",
            "access": access,
        }
        text = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def lacks(self, user: str, scope: str) -> bool:
        """Tell whether a user may not do all that a scope names."""
        return self._granted(user, scope)["actions"] != scope.rpartition(":")[2].split(",")

    def _granted(self, user: str, scope: str) -> dict[str, object]:
        resource, _, actions = scope.rpartition(":")
        kind, _, name = resource.partition(":")
        allowed = self.rights.get(user, {}).get(name, ())
        return {
            "type": kind,
            "name": name,
            "actions": [action for action in actions.split(",") if action in allowed],
        }


@contextmanager
def token_server(
    folder: Path,
    *,
    passwords: Mapping[str, str],
    rights: Mapping[str, Mapping[str, tuple[str, ...]]],
    refresh_tokens: Mapping[str, str] | None = None,
) -> Iterator[TokenServer]:
    """Run a token server while the block runs."""
    certificate, key = _make_signer(folder)
    tokens = TokenServer(
        certificate=certificate,
        key=key,
        passwords=passwords,
        rights=rights,
        refresh_tokens=refresh_tokens or {},
    )
    server = _Server(("127.0.0.1", 0), _Handler)
    server.tokens = tokens
    tokens.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # of 5 a connection more comes a second late
    tokens: TokenServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["from"] == ["a,b"], "the realm's own query was lost"
        assert query["service"] == [SERVICE]
        user = self._basic_user()
        if user is None:
            self._send(401, {"details": "incorrect username or password"})
            return
        self._give(user, tuple(query.get("scope", ())), "")

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = parse_qs(self.rfile.read(length).decode(), strict_parsing=True)
        assert form["grant_type"] == ["refresh_token"]
        assert form["service"] == [SERVICE]
        user = self.server.tokens.refresh_tokens.get(form["refresh_token"][0])
        if user is None:
            self._send(401, {"details": "invalid refresh token"})
            return
        scopes = tuple(form["scope"][0].split()) if "scope" in form else ()
        self._give(user, scopes, form["client_id"][0])

    def _give(self, user: str, scopes: tuple[str, ...], client: str) -> None:
        tokens = self.server.tokens
        with tokens.lock:
            asked = Asked(method=self.command, user=user, scopes=scopes, client=client)
            tokens.asked.append(asked)
            dead = tokens.dead_tokens > 0
            tokens.dead_tokens = max(0, tokens.dead_tokens - 1)
            lacks = any(tokens.lacks(user, scope) for scope in scopes)
        if lacks and tokens.lacking != 200:
            self._send(tokens.lacking, {"details": "requested access is denied"})
            return
        now = time.time()
        until = now - LEEWAY if dead else now + 300
        answer: dict[str, object] = {
            "access_token" if client else "token": tokens.sign(user, scopes, until)
        }
        if tokens.expires_in is not None:
            answer["expires_in"] = tokens.expires_in
        self._send(200, answer)

    def _basic_user(self) -> str | None:
        """Give the user; an empty name for nobody; None for a wrong password."""
        header = self.headers.get("Authorization")
        if header is None:
            return ""
        scheme, _, text = header.partition(" ")
        user, _, password = base64.b64decode(text).decode().partition(":")
        right = self.server.tokens.passwords.get(user) == password
        return user if scheme == "Basic" and right else None

    def _send(self, status: int, content: Mapping[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _make_signer(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certificate_for("token signer", "token signer", key).sign(key, hashes.SHA256())
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "signer.pem", folder / "signer-key.pem"
    pem = serialization.Encoding.PEM
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
