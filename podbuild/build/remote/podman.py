"""podman's API, as far as a build needs it: bases in, an image, and its way to staging.

BuilderFacts: libpod's API (docs.podman.io/en/latest/_static/api.html), podman 5.6 and newer.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.refusals import engine_network
from podbuild.build.remote.context import Packed, multipart
from podbuild.build.staging.rights import Login
from podbuild.config.choices import Compression, Isolation, Pull, RunNetwork
from podbuild.oci.auth.files import Credential
from podbuild.oci.names import Platform, Repository
from podbuild.oci.transport.local import LostServiceError, SocketAnswer, SocketCall, SocketService
from podbuild.system.process import TAIL_LINES, CommandError, Finished
from podbuild.system.records import JSONValue, parse_json

_API = "/v5.6.0/libpod"
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_ID = re.compile(r"[0-9a-f]{64}")
_ISOLATIONS = {Isolation.CHROOT: "2", Isolation.ROOTLESS: "3", Isolation.OCI: "1"}

Take = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RemoteOrder:
    """One build: the recipe and what is sent for it.

    `bases` map names of contexts to image ids or references there; `folders` are extra contexts.
    `containerfile` is the name of a file of the context, as are the values of `secrets`: the
    service takes them out of it before it builds.
    """

    recipe: Recipe
    context: Packed
    containerfile: str
    bases: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Packed] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    no_cache: bool = False
    proxies: bool = True


class Podman:
    """A service on a builder. `logins` are those of the hosts that bases come from."""

    def __init__(self, service: SocketService, logins: Mapping[Repository, Credential]) -> None:
        self._service = service
        self._logins = logins

    def answers(self) -> bool:
        """Tell whether somebody is there."""
        try:
            with self._service.ask(SocketCall(method="GET", path="/_ping")) as answer:
                return answer.status == _OK
        except LostServiceError:
            return False

    def holds(self, image: str) -> bool:
        """Tell whether an image id is in the builder's storage."""
        asked = SocketCall(method="GET", path=f"{_API}/images/{image}/exists")
        with self._service.ask(asked) as answer:
            return answer.status == _NO_CONTENT

    def environment(self, image: str) -> dict[str, str] | None:
        """Give the ENV of an image by id or name; None where it is not there."""
        asked = SocketCall(method="GET", path=f"{_API}/images/{image}/json")
        with self._service.ask(asked) as answer:
            if answer.status != _OK:
                return None
            match _json(b"\n".join(answer.lines)):
                case {"Config": {"Env": list(entries)}}:
                    return dict(str(entry).partition("=")[::2] for entry in entries)
                case _:
                    pass
        return {}

    def pull(self, reference: str, login: Login | None = None) -> str:
        """Fetch an image, with the login of staging where it comes from there; give its id."""
        parameters = [("reference", f"docker://{reference}"), ("policy", "always")]
        if login is not None:
            parameters.append(("tlsVerify", "false"))
        asked = SocketCall(
            method="POST",
            path=f"{_API}/images/pull",
            parameters=tuple(parameters),
            headers=_auth(login) if login else self._header,
        )
        said = self._run("pull", asked, lambda _line: None)
        return next((str(each["id"]) for each in reversed(said) if each.get("id")), "")

    def untag(self, image: str) -> None:
        """Take an image's names away: what builds on it would keep them in its history."""
        asked = SocketCall(method="POST", path=f"{_API}/images/{image}/untag")
        with self._service.ask(asked):
            pass

    def build(self, order: RemoteOrder, take: Take) -> str:
        """Build and give the image's id; `take` hears each line.

        Raises CommandError as an engine of this machine would, LostServiceError.
        """
        boundary = "podbuild-" + order.containerfile
        parts = [("MainContext", order.context)]
        parts += [(f"build-context-{name}", each) for name, each in sorted(order.folders.items())]
        asked = SocketCall(
            method="POST",
            path=f"{_API}/build",
            parameters=tuple(_parameters(order)),
            headers={
                "Content-Type": f"multipart/form-data; boundary={boundary}"
                if order.folders
                else "application/x-tar",
                **self._header,
            },
            body=multipart(parts, boundary) if order.folders else order.context.chunks(),
        )
        made = ""

        def heard(line: str) -> None:
            nonlocal made
            if _ID.fullmatch(line.strip()):
                made = line.strip()
            take(line)

        self._run("build", asked, heard)
        if not made:
            raise LostServiceError("the build ended without an image")
        return made

    def build_alone(self, platform: Platform, context: Packed, containerfile: str) -> str:
        """Build from one context and nothing else; gives the image's id, raises as `build` does."""
        asked = SocketCall(
            method="POST",
            path=f"{_API}/build",
            parameters=(
                ("dockerfile", containerfile),
                ("platform", str(platform)),
                ("outputformat", _DOCKER),
                ("layers", "0"),
                ("nocache", "1"),
                ("isolation", _ISOLATIONS[Isolation.CHROOT]),
                ("pullpolicy", "never"),
                ("rm", "1"),
                ("forcerm", "1"),
            ),
            headers={"Content-Type": "application/x-tar"},
            body=context.chunks(),
        )
        lines: list[str] = []
        self._run("build", asked, lines.append)
        made = [line.strip() for line in lines if _ID.fullmatch(line.strip())]
        if not made:
            raise LostServiceError("the build ended without an image")
        return made[-1]

    def remove(self, image: str) -> None:
        """Remove an image; one that is gone is none."""
        asked = SocketCall(
            method="DELETE", path=f"{_API}/images/{image}", parameters=(("force", "1"),)
        )
        with self._service.ask(asked):
            pass

    def push(self, image: str, destination: str, compression: Compression, login: Login) -> None:
        """Bring an image to staging; raises CommandError, LostServiceError."""
        parameters = [
            ("destination", destination),
            ("tlsVerify", "false"),
            ("quiet", "false"),
            ("retry", "0"),
        ]
        if compression is Compression.ZSTD:
            parameters += [
                ("format", "oci"),
                ("compressionFormat", "zstd"),
                ("compressionLevel", "3"),
            ]
        asked = SocketCall(
            method="POST",
            path=f"{_API}/images/{image}/push",
            parameters=tuple(parameters),
            headers=_auth(login),
        )
        said = self._run("push", asked, lambda _line: None)
        if not any(each.get("manifestdigest") for each in said):
            raise LostServiceError("the push ended without a digest")

    @property
    def _header(self) -> Mapping[str, str]:
        """Give the logins for bases as a build takes them."""
        found: JSONValue = {
            str(repository): {"username": login.username, "password": login.secret}
            for repository, login in self._logins.items()
        }
        return {"X-Registry-Config": _encoded(found)} if found else {}

    def _run(self, what: str, asked: SocketCall, take: Take) -> list[dict[str, JSONValue]]:
        """Give the records of an answer; raises CommandError with its last lines."""
        began = time.monotonic()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        records: list[dict[str, JSONValue]] = []
        rest, error = "", ""
        with self._service.ask(asked) as answer:
            for record in _records(answer):
                records = [*records[-TAIL_LINES:], record]
                if failed := record.get("error") or record.get("message"):
                    error = str(failed).strip()
                *lines, rest = (rest + str(record.get("stream", ""))).split("\n")
                for line in lines:
                    tail.append(line)
                    take(line)
            if answer.status >= _BAD and not error:
                error = f"the service answered {answer.status}"
        if rest:
            tail.append(rest)
            take(rest)
        if error:
            for line in (*error.splitlines()[:-1], f"Error: {error.splitlines()[-1]}"):
                tail.append(line)
                take(line)
            raise CommandError(
                Finished(
                    argv=("podman", what),
                    code=125,
                    out="",
                    tail=tuple(tail),
                    seconds=time.monotonic() - began,
                )
            )
        return records


_OK, _NO_CONTENT, _BAD = 200, 204, 400


def _records(answer: SocketAnswer) -> Iterator[dict[str, JSONValue]]:
    for line in answer.lines:
        if line.strip():
            value = _json(line)
            if isinstance(value, dict):
                yield value


def _json(data: bytes) -> JSONValue:
    try:
        return parse_json(data)
    except ValueError:
        raise LostServiceError(f"it answered {data[:100]!r}") from None


def _parameters(order: RemoteOrder) -> Iterator[tuple[str, str]]:
    """Say of a build what `argv.py` says of one on this machine."""
    recipe = order.recipe
    secret = "podbuild.containerfile"  # noqa: S105  # so the service takes it out of the context
    yield "dockerfile", json.dumps([f"../{order.containerfile}"])
    yield "excludes", json.dumps([order.containerfile])  # or ignore files would be read there
    given = {secret: order.containerfile, **order.secrets}
    yield "secrets", json.dumps([f"id={id_},src={name}" for id_, name in sorted(given.items())])
    yield "platform", str(recipe.job.platform)
    yield "outputformat", _DOCKER
    yield "layers", _truth(recipe.layers)
    yield "timestamp", str(recipe.instant)
    yield "identitylabel", "0"
    yield "isolation", _ISOLATIONS[recipe.isolation]
    yield from _network(recipe)
    yield "pullpolicy", "never" if recipe.pull is Pull.NEVER else "missing"
    yield "retry", "0"
    yield "rm", "1"
    yield "forcerm", "1"
    yield "inheritannotations", "1"
    yield "inheritlabels", "1"
    yield "httpproxy", _truth(order.proxies)
    yield "nocache", _truth(order.no_cache)
    if target := order.target or recipe.target:
        yield "target", target
    if recipe.handed_arguments:
        yield "buildargs", json.dumps(dict(recipe.handed_arguments))
    yield from _contexts(order)


def _network(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Say what the engines' own --network makes of each word (buildah, pkg/parse)."""
    network = recipe.network
    if not recipe.without_network:
        network = engine_network(recipe.isolation, network)
    host = network is RunNetwork.HOST
    yield "networkmode", "1" if network is RunNetwork.NONE else "2"
    yield "nsoptions", json.dumps([{"Name": "network", "Host": host, "Path": ""}])


def _contexts(order: RemoteOrder) -> Iterator[tuple[str, str]]:
    recipe = order.recipe
    found = {**recipe.pins, **order.bases}
    known = {**found, **dict.fromkeys(order.folders, "")}
    for reference in recipe.parsed.outside(recipe.variables, target=recipe.target):
        if known.get(reference.value):
            found.setdefault(reference.text, known[reference.value])
    for name, image in sorted(found.items()):
        yield "additionalbuildcontexts", f"{name}=image:{image}"


def _auth(login: Login) -> Mapping[str, str]:
    return {
        "X-Registry-Auth": _encoded({"username": login.user, "password": login.password}),
    }


def _encoded(value: JSONValue) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _truth(value: bool) -> str:
    return "1" if value else "0"


def on_builder(login: Login, port: int) -> Login:
    """Give a login of staging as the builder reaches it, through the tunnel."""
    return replace(login, host=f"127.0.0.1:{port}")
