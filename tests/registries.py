"""Real registry servers for tests: Debian's `docker-registry` on loopback.

`with registry_server() as server:` gives a server with storage of its own, gone afterwards.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podbuild.oci.auth.files import Credential
from podbuild.oci.client import RegistryClient
from podbuild.oci.names import Repository
from podbuild.oci.registry import RegistryStore
from podbuild.oci.transport.endpoint import Conduct, Endpoint, Timeouts, UploadPolicy, WayOut
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry

PROGRAM = "docker-registry"
NOBODY = "127.0.0.1:1"  # where no test listens: a free port may be another test's a moment later
_READY_WITHIN = 300.0  # seconds

AT_ONCE = Retry(base=0.0, cap=0.0)  # retries that do not wait
_PORTS = 2_750  # of each worker
_ASKED = itertools.count(secrets.randbelow(_PORTS))
IN_TESTS = WayOut(timeouts=Timeouts(connect=30.0, read=60.0))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running registry: `host` is 127.0.0.1:port."""

    host: str
    storage: Path
    ca: Path | None = None
    username: str = ""
    password: str = ""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host=self.host, insecure=self.ca is None, ca=self.ca)

    @property
    def credential(self) -> Credential | None:
        if not self.username:
            return None
        return Credential(username=self.username, secret=self.password, source="the test")

    def client(
        self,
        *,
        credential: Credential | None = None,
        conduct: Conduct | None = None,
        network: WayOut = IN_TESTS,
    ) -> RegistryClient:
        return RegistryClient(
            self.endpoint,
            credential or self.credential,
            conduct=conduct or Conduct(retry=AT_ONCE, cancel=Cancel()),
            network=network,
        )

    def store(
        self,
        path: str = "acme/web",
        *,
        client: RegistryClient | None = None,
        policy: UploadPolicy | None = None,
    ) -> RegistryStore:
        return RegistryStore(
            client or self.client(),
            Repository(self.host, path),
            policy=policy or UploadPolicy(),
        )


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate for 127.0.0.1 and localhost, and the file that makes it trusted."""

    ca: Path
    certificate: Path
    key: Path


def find_program() -> Path:
    """Give Debian's docker-registry from PATH, where `make test` puts it."""
    found = shutil.which(PROGRAM)
    assert found, f"{PROGRAM} is missing: `make test` gets it, or apt-get install {PROGRAM}"
    return Path(found)


@contextmanager
def registry_server(
    *,
    folder: Path | None = None,
    port: int = 0,
    delete: bool = True,
    login: tuple[str, str] | None = None,
    authority: Authority | None = None,
    token: dict[str, str] | None = None,
    proxy: str = "",
) -> Iterator[Server]:
    """Run a registry while the block runs.

    `login` asks for Basic with that user and password; `authority` makes it speak TLS; `token`
    is the configuration of token auth; `proxy` makes it a pull-through mirror of that URL.
    """
    with tempfile.TemporaryDirectory(prefix="registry-") as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        number = port or free_port()
        settings: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(place / "data")},
                "delete": {"enabled": delete},
                "redirect": {"disable": True},
            },
            "http": {"addr": f"127.0.0.1:{number}", "secret": "constant"},
        }
        if authority:
            settings["http"] = {
                "addr": f"127.0.0.1:{number}",
                "secret": "constant",
                "tls": {"certificate": str(authority.certificate), "key": str(authority.key)},
            }
        if login:
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(_htpasswd(place, login))}}
        if token:
            settings["auth"] = {"token": token}
        if proxy:
            settings["proxy"] = {"remoteurl": proxy}
        config = place / "config.json"
        config.write_text(json.dumps(settings))  # JSON is YAML
        with _running(config, place / "log", number):
            user, password = login or ("", "")
            yield Server(
                host=f"127.0.0.1:{number}",
                storage=place / "data",
                ca=authority.ca if authority else None,
                username=user,
                password=password,
            )


@contextmanager
def _running(config: Path, log: Path, port: int) -> Iterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(find_program()), "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": os.defpath, "HOME": str(config.parent)},
            start_new_session=True,
        )
    try:
        _wait_for(process, port, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _READY_WITHIN
    while time.monotonic() < until:
        assert process.poll() is None, f"{PROGRAM} ended: {log.read_text()[-2000:]}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)  # polling, bounded by the deadline
        else:
            return
    raise AssertionError(f"{PROGRAM} did not listen within {_READY_WITHIN:g} s")


def free_port() -> int:
    """Give a port that nobody listens on now, until whoever asks does.

    Below those that the kernel gives to connections (ip(7), ip_local_port_range): one of them
    would be the own port of another test's connection before a server has it. Each worker has
    its own, one after the other: two tests that looked at the same moment would find the same.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + worker % 8 * _PORTS
    while True:
        number = first + next(_ASKED) % _PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", number))
            return number


def _htpasswd(folder: Path, login: tuple[str, str]) -> Path:
    file = folder / "htpasswd"
    hashed = bcrypt.hashpw(login[1].encode(), bcrypt.gensalt(rounds=4)).decode()
    file.write_text(f"{login[0]}:{hashed}\n")
    return file


def make_authority(folder: Path) -> Authority:
    """Make a CA and a server certificate signed by it."""
    folder.mkdir(parents=True, exist_ok=True)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = "podbuild test authority"
    root = (
        certificate_for(authority_name, authority_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        certificate_for("localhost", authority_name, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    authority = Authority(
        ca=folder / "ca.pem", certificate=folder / "cert.pem", key=folder / "key.pem"
    )
    authority.ca.write_bytes(root.public_bytes(pem))
    authority.certificate.write_bytes(leaf.public_bytes(pem))
    authority.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return authority


def certificate_for(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Give a certificate that is valid now, to be completed and signed."""
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
    )
