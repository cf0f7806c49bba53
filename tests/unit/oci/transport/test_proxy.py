from pathlib import Path

import pytest

from podbuild.errors import ConfigError, PublishError
from podbuild.oci.transport.endpoint import Endpoint, WayOut, is_loopback
from podbuild.oci.transport.http import Http
from podbuild.system.retry import Breaker
from tests.registries import make_authority

PROXIES = {
    "https_proxy": "http://proxy.example:3128",
    "NO_PROXY": "corp.example, .inside, 10.0.0.0/8",
}


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("https://ghcr.io/v2/", True),
        ("https://corp.example/v2/", False),
        ("https://r.corp.example:5000/v2/", False),
        ("https://notcorp.example/v2/", True),
        ("https://a.inside/v2/", False),
        ("https://10.1.2.3/v2/", False),
        ("https://11.1.2.3/v2/", True),
        ("https://127.0.0.1:5000/v2/", False),
        ("https://localhost:5000/v2/", False),
        ("https://[::1]:5000/v2/", False),
    ],
)
def test_proxies_are_used_as_the_engine_uses_them(url: str, *, proxied: bool) -> None:
    found = WayOut.from_environment(PROXIES).proxy_for(url)
    assert bool(found) is proxied


def test_proxies_come_from_either_case_and_from_all_proxy() -> None:
    network = WayOut.from_environment({"HTTP_PROXY": "http://a:1", "all_proxy": "http://b:2"})
    assert network.proxies == {"http": "http://a:1", "https": "http://b:2"}
    assert WayOut.from_environment({"https_proxy": ""}).proxies == {}
    assert WayOut.from_environment({**PROXIES, "no_proxy": "*"}).proxy_for("https://x/") == {}


def test_a_proxys_password_does_not_show() -> None:
    network = WayOut.from_environment({"https_proxy": "http://ann:secret@proxy:1"})
    assert "secret" not in repr(network)


def test_certificates_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(ConfigError, match=r"ca\.pem: can't be read as certificates: no such"):
        Http(WayOut(ca_files=(file,)))
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="can't be read as certificates"):
        Http(WayOut(ca_files=(file,)))
    Http(WayOut(ca_files=(make_authority(tmp_path).ca,))).close()


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("10.0.0.1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_loopback_is_this_machine(host: str, *, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        (Endpoint(host="docker.io"), "https://registry-1.docker.io"),
        (Endpoint(host="ghcr.io"), "https://ghcr.io"),
        (Endpoint(host="127.0.0.1:5000", insecure=True), "http://127.0.0.1:5000"),
    ],
)
def test_plain_http_only_where_configured(endpoint: Endpoint, origin: str) -> None:
    assert endpoint.origin == origin


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_rests_and_then_lets_one_try() -> None:
    clock = Clock()
    breaker = Breaker("r.example", trips_after=2, rest=30.0, clock=clock)
    for _ in range(2):
        breaker.check()
        breaker.failed(PublishError("503"))
    with pytest.raises(PublishError, match=r"r\.example failed 2 times in a row") as caught:
        breaker.check()
    assert caught.value.details == ("503",)
    clock.now = 30.0
    breaker.check()
    with pytest.raises(PublishError):
        breaker.check()
    breaker.answered()
    breaker.check()


def test_failures_that_are_not_in_a_row_do_not_trip_it() -> None:
    breaker = Breaker("r.example", trips_after=2)
    for _ in range(5):
        breaker.failed(PublishError("503"))
        breaker.answered()
        breaker.check()
