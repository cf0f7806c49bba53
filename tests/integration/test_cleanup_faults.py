"""Whatever request of a cleanup fails, and however: nothing kept is lost, none is half there."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.config.model import PruneRule, Retention
from podbuild.errors import PodbuildError
from podbuild.oci.names import Platform
from podbuild.publish.retention.cleanup import prune_repository
from podbuild.publish.retention.policy import prune_policy
from podbuild.system.cancel import Cancel
from tests.cleaning import Scene, platforms, scene
from tests.faults import Fault, LostReply, On, Reset, Script, Status, Truncate, too_many
from tests.registries import registry_server

pytestmark = pytest.mark.integration

KINDS = ("distribution2", "distribution3", "hub", "ghcr")
BOTH = {Platform("linux", "amd64"), Platform("linux", "arm64")}
RULE = PruneRule(match=re.compile("old-.*"), keep=0)
SAMPLE = 6  # of each kind; `make soak` takes all
FAULTS: dict[str, Fault] = {
    "reset": Reset(),
    "lost reply": LostReply(),
    "500": Status(500, b""),
    "503": Status(503, b'{"errors":[{"code":"UNAVAILABLE"}]}'),
    "429": too_many(),
    "403": Status(403, b'{"message":"no"}'),
    "404": Status(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'),
    "401": Status(401, b""),
    "cut": Truncate(10),
    "empty": Status(200, b""),
    "nothing": Status(200, b'{"name":"acme/web","tags":null,"results":[],"manifests":[]}'),
    "html": Status(200, b"<html>", {"Content-Type": "text/html"}),
}
Case = tuple[str, str, int, int]  # kind, fault, number of the request, how often


def cases(seed: int, count: int) -> list[Case]:
    chosen = random.Random(seed)
    return [
        (kind, chosen.choice(sorted(FAULTS)), chosen.randrange(1, 60), chosen.choice([1, 2, 6, 99]))
        for kind in KINDS
        for _ in range(count)
    ]


def filled(here: Scene) -> None:
    here.push("old", "old-1")
    here.push("older", "old-0", share="old")
    here.push("kept", "1.0.0", "latest", share="old")
    here.clock.turn(days=40)


def clean(here: Scene) -> PodbuildError | None:
    policy = prune_policy(Retention(prune=(RULE,)), here.clock.now)
    try:
        prune_repository(here.again(), policy, Cancel())
    except PodbuildError as error:
        return error
    return None


def check(here: Scene) -> None:
    """What is kept is complete; and the same cleanup, left alone, then does the rest."""
    for proxy in here.proxies:
        proxy.faults = Script()
    here = here.anew()
    for tag in ("1.0.0", "latest"):
        assert platforms(here.store, tag) == BOTH
    for tag in here.tags():
        assert platforms(here.store, tag) == BOTH or tag.startswith("old-")
    again = clean(here)
    assert again is None, again
    assert here.tags() == {"1.0.0", "latest"}
    assert platforms(here.store, "latest") == BOTH


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with registry_server() as server:
        yield server.host


_numbers = itertools.count()


def run(case: Case, folder: Path, upstream: str) -> None:
    kind, fault, nth, times = case
    path = f"acme/web{next(_numbers)}"
    with scene(kind, folder, upstream=upstream, path=path) as here:
        filled(here)
        for proxy in here.proxies:
            proxy.faults = Script(On(".*", ".", fault=FAULTS[fault], nth=nth, times=times))
        clean(here)
        check(here)


@pytest.mark.parametrize("case", cases(7, SAMPLE), ids=lambda case: "-".join(map(str, case)))
def test_a_fault_at_any_request_loses_nothing(case: Case, tmp_path: Path, upstream: str) -> None:
    run(case, tmp_path, upstream)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_faults_at_any_request_lose_nothing(seed: int, tmp_path: Path, upstream: str) -> None:
    for number, case in enumerate(cases(seed, 12)):
        run(case, tmp_path / str(number), upstream)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_leaves_out_the_kept_tags_deletes_nothing_of_theirs(
    kind: str, nth: int, tmp_path: Path
) -> None:
    with scene(kind, tmp_path) as here:
        filled(here)
        lie = Status(200, shortened(here), {"Content-Type": "application/json"})
        path = {"hub": r"/tags\?page=", "ghcr": r"/versions\?"}.get(kind, "/tags/list")
        here.proxies[-1].faults = Script(On("GET", path, fault=lie, nth=nth))
        clean(here)
        check(here)


def shortened(here: Scene) -> bytes:
    """Give a complete-looking list that holds the old images alone."""
    if here.hub:
        results = [{"name": "old-1"}, {"name": "old-0"}]
        return json.dumps({"next": None, "results": results}).encode()
    if here.github:
        names = ("old", "old/arm64", "old/amd64", "older", "older/arm64")
        digests = [here.images[name].digest for name in names]
        return json.dumps([here.github._shown("acme/web", each) for each in digests]).encode()
    return json.dumps({"name": "acme/web", "tags": ["old-1", "old-0"]}).encode()
