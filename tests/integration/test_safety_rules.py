"""The safety rules of cleanup that live on the wire: fakes by each registry's rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.config.model import PruneRule, Retention
from podbuild.config.template import Template
from podbuild.errors import CleanupError, ConfigError, CredentialError
from podbuild.oci.auth.files import Credential
from podbuild.oci.delete import RemovalKind
from podbuild.oci.delete.dockerhub import DockerHubRemover, HubApi
from podbuild.oci.delete.ghcr import GhcrRemover
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.cleanup import apply_plan, plan_repository, prune_repository
from podbuild.publish.retention.policy import Policy, prune_policy
from podbuild.publish.retention.removal import Cleaned
from podbuild.publish.retention.removers import Removers
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry
from tests.cleaning import SECRET, Scene, platforms, scene
from tests.fakes.github import Token
from tests.fakes.hub import Level
from tests.fakes.wire import Reply, served
from tests.faults import On, Script, Status

pytestmark = pytest.mark.integration

KINDS = ["distribution2", "distribution3", "hub", "ghcr", "layout"]
RULE = PruneRule(match=re.compile("old-.*"), keep=0)
ODD = Digest.of(b"nothing")


def policy(here: Scene) -> Policy:
    return prune_policy(Retention(prune=(RULE,)), here.clock.now)


def prune(here: Scene) -> Cleaned:
    return prune_repository(here.again(), policy(here), Cancel())[1]


@contextmanager
def two_images(kind: str, folder: Path, *rules: On, untag: bool = False) -> Iterator[Scene]:
    """Give a repository with one image to go and one to stay, which share a child."""
    faults = Script(*rules) if rules else None
    with scene(kind, folder, faults=faults, untag=untag) as here:
        here.push("old", "old-1")
        here.push("kept", "1.0.0", share="old")
        here.clock.turn(days=40)
        yield here


def deletions(here: Scene) -> list[str]:
    return [one.path for proxy in here.proxies for one in proxy.requests("DELETE")]


# 1


@pytest.mark.parametrize("kind", KINDS)
def test_rule_01_a_tag_that_moved_after_the_plan_stays(kind: str, tmp_path: Path) -> None:
    with two_images(kind, tmp_path) as here:
        here.push("new", "1.1.0")
        planned = plan_repository(here.again(), policy(here))
        here.store.put_manifest(here.images["new"], Tag("old-1"))
        apply_plan(planned, Cancel())
        assert platforms(here.store, "old-1")
        found = here.store.head(Tag("old-1"))
        assert found is not None
        assert found.digest == here.images["new"].digest


# 4


def test_rule_04_a_version_that_got_another_tag_is_not_deleted(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        remover = here.again().remover
        remover.inventory()
        here.store.put_manifest(here.images["old"], Tag("precious"))
        removal = remover.remove_manifest(here.images["old"].digest, frozenset({Tag("old-1")}))
        assert removal.kind is RemovalKind.KEPT
        assert "precious" in removal.reason
        assert here.github is not None
        assert here.github.api.requests("DELETE") == []


def test_rule_04_one_tag_of_several_is_freed_by_a_placeholder_of_its_own(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path, untag=True) as here:
        here.store.put_manifest(here.images["kept"], Tag("old-2"))
        cleaned = prune(here)
        assert here.tags() == {"1.0.0"}
        assert platforms(here.store, "1.0.0")
        assert {str(item) for item in cleaned.removed} >= {"old-2"}
        assert here.github is not None
        versions = here.github.state.manifests["acme/web"]
        assert len(versions) == 3


def test_rule_04_a_placeholder_that_github_keeps_gives_the_tag_back(tmp_path: Path) -> None:
    kept = Status(400, b'{"message":"You cannot delete the last tagged version of a package."}')
    rule = On("DELETE", "/versions/", fault=kept, times=9)
    with two_images("ghcr", tmp_path, rule, untag=True) as here:
        here.store.put_manifest(here.images["kept"], Tag("old-2"))
        remover = here.again().remover
        remover.inventory()
        with pytest.raises(CleanupError, match="stays"):
            remover.remove_tag(Tag("old-2"), here.images["kept"].digest)
        assert platforms(here.store, "old-2")
        found = here.store.head(Tag("old-2"))
        assert found is not None
        assert found.digest == here.images["kept"].digest


def test_rule_04_a_tag_that_was_moved_while_it_was_freed_is_not_put_back(tmp_path: Path) -> None:
    behind = On("GET", r"/versions\?", fault=Status(200, b"[]"), nth=2)
    with two_images("ghcr", tmp_path, behind, untag=True) as here:
        kept, newer = here.images["kept"], here.images["old"]
        here.store.put_manifest(kept, Tag("old-2"))
        remover = here.again().remover
        assert isinstance(remover, GhcrRemover)
        remover.inventory()

        def moved(_seconds: float) -> None:
            here.store.put_manifest(newer, Tag("old-2"))

        waiting = replace(remover, retry=Retry(attempts=2, sleep=moved))
        with pytest.raises(CleanupError, match="no version shows the move"):
            waiting.remove_tag(Tag("old-2"), kept.digest)
        found = here.store.head(Tag("old-2"))
        assert found is not None
        assert found.digest == newer.digest


# 10


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_rule_10_no_tag_is_ever_moved_to_a_dummy(kind: str, tmp_path: Path) -> None:
    with two_images(kind, tmp_path) as here:
        pushed = sum(len(proxy.requests("PUT")) for proxy in here.proxies)
        prune(here)
        assert sum(len(proxy.requests("PUT")) for proxy in here.proxies) == pushed


def test_rule_10_ghcr_deletes_through_githubs_api_alone(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        prune(here)
        assert here.github is not None
        assert here.github.registry.requests("DELETE") == []
        assert all("/versions/" in one.path for one in here.github.api.requests("DELETE"))
        assert "old" not in here.there()


def test_rule_10_docker_hubs_tags_go_by_its_api_and_digests_after_it(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        prune(here)
        assert here.hub is not None
        assert [one.path for one in here.hub.api.requests("DELETE")] == [
            "/v2/repositories/acme/web/tags/old-1/"
        ]
        assert all("sha256:" in one.path for one in here.hub.registry.requests("DELETE"))
        assert "old" not in here.there()


def test_rule_10_distribution_2_loses_no_tag_that_shares_a_digest(tmp_path: Path) -> None:
    with two_images("distribution2", tmp_path) as here:
        here.store.put_manifest(here.images["old"], Tag("precious"))
        prune(here)
        assert here.tags() == {"old-1", "precious", "1.0.0"}
        assert platforms(here.store, "precious")


def test_rule_10_where_deleting_is_off_nothing_goes_and_that_is_said(tmp_path: Path) -> None:
    off = Status(405, b'{"errors":[{"code":"UNSUPPORTED","message":"unsupported"}]}')
    with two_images("distribution3", tmp_path, On("DELETE", ".", fault=off, times=99)) as here:
        planned = plan_repository(here.again(), policy(here))
        assert planned.plan.removed == ()
        assert any("deletes no manifests" in item.reason for item in planned.plan.kept)


# 11


@pytest.mark.parametrize("status", [400, 401, 403, 405])
@pytest.mark.parametrize("kind", ["hub", "ghcr"])
def test_rule_11_a_refusal_stops_the_repository_at_once(
    kind: str, status: int, tmp_path: Path
) -> None:
    refusal = Status(status, b'{"message":"no"}')
    with two_images(kind, tmp_path, On("DELETE", ".", fault=refusal, times=99)) as here:
        here.push("older", "old-0")
        here.clock.turn(days=2)
        with pytest.raises((CleanupError, CredentialError)):
            prune(here)
        assert len(set(deletions(here))) == 1
        assert here.there() == set(here.images)


@pytest.mark.parametrize("popular", [True, False])
def test_rule_11_what_github_keeps_is_reported_and_is_no_failure(
    popular: bool, tmp_path: Path
) -> None:
    with two_images("ghcr", tmp_path) as here:
        here.push("older", "old-0")
        here.clock.turn(days=2)
        assert here.github is not None
        if popular:
            here.github.popular.add(here.images["old"].digest)
        cleaned = prune(here)
        assert platforms(here.store, "1.0.0")
        reasons = [why for _, why in cleaned.kept]
        assert bool(reasons) is popular
        assert not popular or "5000 downloads" in reasons[0]
        assert ("old" in here.there(), "older" in here.there()) == (popular, False)
        assert ("old/arm64" in here.there()) is popular


def test_rule_11_the_last_tagged_version_of_a_package_is_kept_by_github(tmp_path: Path) -> None:
    last = b'{"message":"You cannot delete the last tagged version of a package."}'
    rule = On("DELETE", "/versions/", fault=Status(400, last), times=1)
    with two_images("ghcr", tmp_path, rule) as here:
        cleaned = prune(here)
        assert "last tagged version" in cleaned.kept[0][1]
        assert here.there() == set(here.images)


def test_rule_11_immutable_tags_of_docker_hub_are_kept_without_asking(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        here.push("older", "old-0")
        here.clock.turn(days=2)
        assert here.hub is not None
        here.hub.immutable = ("^old-0$",)
        prune(here)
        assert here.tags() == {"old-0", "1.0.0"}
        assert platforms(here.store, "old-0")
        assert len(here.hub.api.requests("DELETE")) == 1


def test_rule_11_what_docker_hub_still_needs_is_kept_and_reported(tmp_path: Path) -> None:
    denied = b'{"errors":[{"code":"DENIED","message":"manifest is still referenced"}]}'
    rule = On("DELETE", "/manifests/sha256", fault=Status(403, denied), times=1)
    with two_images("hub", tmp_path, rule) as here:
        cleaned = prune(here)
        assert "still referenced" in cleaned.kept[0][1]
        assert "old/arm64" in here.there()


# 12


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_rule_12_a_404_on_delete_counts_only_when_a_read_agrees(kind: str, tmp_path: Path) -> None:
    unknown = Status(404, b'{"message":"Not Found"}')
    path = "/versions/|/tags/old|/manifests/(old-1|sha256)"
    with two_images(kind, tmp_path) as here:
        planned = plan_repository(here.again(), policy(here))
        for proxy in here.proxies:
            proxy.faults = Script(On("DELETE", path, fault=unknown, times=9))
        with pytest.raises((CleanupError, CredentialError)):
            apply_plan(planned, Cancel())
        assert here.there() == set(here.images)


def test_rule_12_a_tag_that_docker_hub_still_shows_is_not_gone(tmp_path: Path) -> None:
    unknown = Status(404, b'{"message":"tag not found"}')
    with two_images("hub", tmp_path, On("DELETE", "/tags/", fault=unknown)) as here:
        with pytest.raises(CleanupError, match="still here"):
            here.again().remover.remove_tag(Tag("old-1"), here.images["old"].digest)
        assert here.tags() == {"old-1", "1.0.0"}


def test_rule_12_a_token_that_reads_but_does_not_delete_is_told(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        assert here.github is not None
        here.github.tokens[SECRET] = Token(scopes=None, may_delete=False)
        with pytest.raises(CredentialError, match="may not delete") as told:
            prune(here)
        assert "Admin role" in told.value.hint


def test_rule_12_docker_hub_may_finish_a_deletion_after_a_500(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        assert here.hub is not None
        here.hub.state.background = True
        cleaned = prune(here)
        assert here.there() == {"kept", "kept/arm64", "kept/amd64", "old/amd64"}
        assert not cleaned.kept


# 13


def test_rule_13_the_last_calls_of_an_hour_are_left_to_others(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        assert here.github is not None
        here.github.remaining = 5
        with pytest.raises(CleanupError, match="nearly used up"):
            prune(here)
        assert deletions(here) == []


@pytest.mark.parametrize("kind", ["hub", "ghcr"])
def test_rule_13_a_redirect_never_takes_the_token_along(kind: str, tmp_path: Path) -> None:
    with (
        served(lambda _request: Reply(status=200, body=b"{}")) as elsewhere,
        two_images(kind, tmp_path) as here,
    ):
        away = Status(307, b"", {"Location": f"http://{elsewhere.host}/stolen"})
        here.proxies[1].faults = Script(On("GET|DELETE|POST", ".", fault=away, times=99))
        with pytest.raises((CleanupError, CredentialError)):
            prune(here)
        assert elsewhere.seen == []


@pytest.mark.parametrize("kind", ["hub", "ghcr"])
def test_rule_13_a_next_page_on_another_host_is_not_asked(kind: str, tmp_path: Path) -> None:
    with (
        served(lambda _request: Reply(status=200, body=b"[]")) as elsewhere,
        two_images(kind, tmp_path) as here,
    ):
        url = f"http://{elsewhere.host}/v2/next"
        wire = here.hub.api if here.hub else here.github.api if here.github else None
        assert wire is not None
        body = b'{"results":[],"next":"%s"}' % url.encode() if here.hub else b"[]"
        page = Reply(status=200, body=body, headers={"Link": f'<{url}>; rel="next"'})
        wire.before = lambda request: page if "page" in request.query else None
        with pytest.raises(CleanupError, match="sends us to"):
            prune(here)
        assert elsewhere.seen == []


@pytest.mark.parametrize("kind", ["hub", "ghcr"])
def test_rule_13_no_error_shows_the_token(kind: str, tmp_path: Path) -> None:
    with two_images(kind, tmp_path) as here:
        here.proxies[1].faults = Script(On(".*", ".", fault=Status(403, b"no"), times=99))
        with pytest.raises(CredentialError) as told:
            prune(here)
        shown = f"{told.value!r} {told.value} {told.value.hint} {here.place!r} {here.removers!r}"
        assert SECRET not in shown


def test_rule_13_a_token_goes_only_to_the_host_it_belongs_to(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        keyring = here.removers.registries.keyring
        foreign = {"GITHUB_TOKEN": "x", "GITHUB_ACTOR": "y", "DOCKERHUB_TOKEN": "z"}
        registries = replace(
            here.removers.registries,
            keyring=replace(keyring, environment={**foreign, "DOCKERHUB_USERNAME": "w"}),
        )
        with pytest.raises(CredentialError, match="no login") as told:
            Removers(registries).open(here.registry, here.store)
        assert "PODBUILD_IT_TOKEN" in told.value.hint
        open_api = replace(here.registry, insecure=False)
        with pytest.raises(ConfigError, match="without TLS"):
            Removers(registries).open(open_api, here.store)
        unknown = replace(here.registry, api=None, repository=Template("ghe.example.com/a/b"))
        with pytest.raises(ConfigError, match="API"):
            Removers(registries).open(unknown, here.store)


def test_docker_hub_says_which_token_to_make_when_the_scope_is_too_small(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        assert here.hub is not None
        here.hub.level = Level.WRITE
        with pytest.raises(CredentialError, match="may not do this") as told:
            prune(here)
        assert "Read, Write & Delete" in told.value.hint
        assert here.there() == set(here.images)


def test_docker_hub_tells_a_wrong_password_and_two_factors_apart(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        assert here.hub is not None
        here.hub.two_factors = True
        with pytest.raises(CredentialError) as two:
            prune(here)
        assert "two factors" in two.value.hint
        here.hub.two_factors = False
        account = here.hub.state.accounts.pop("acme")
        with pytest.raises(CredentialError, match="refused") as wrong:
            here.again().remover.abilities()
        assert "wrong" in wrong.value.hint
        here.hub.state.accounts["acme"] = account


@pytest.mark.parametrize("new", [True, False])
def test_docker_hubs_token_is_renewed_when_it_expires(new: bool, tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        assert here.hub is not None
        here.hub.new_login = new
        place = here.again()
        planned = plan_repository(place, policy(here))
        here.clock.turn(minutes=11)
        assert apply_plan(planned, Cancel()) is not None
        assert here.tags() == {"1.0.0"}
        paths = [one.path for one in here.hub.api.requests("POST")]
        assert paths.count("/v2/auth/token" if new else "/v2/users/login") == 2


def test_docker_hubs_token_is_renewed_by_its_age_before_it_expires(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        remover = here.again().remover
        assert isinstance(remover, DockerHubRemover)
        now = [0.0]
        credential = Credential(username="acme", secret=SECRET, source="the test")
        api = HubApi(remover.api._rest, credential, "acme/web", clock=lambda: now[0])
        assert here.hub is not None
        logins = len(here.hub.api.requests("POST"))
        for minute in (0, 4, 9, 13):
            now[0] = 60.0 * minute
            assert api.has(Tag("1.0.0"))
        assert len(here.hub.api.requests("POST")) == logins + 2


def test_long_lists_are_read_to_their_end(tmp_path: Path) -> None:
    with two_images("hub", tmp_path) as here:
        for number in range(210):
            here.store.put_manifest(here.images["kept"], Tag(f"n{number}"))
        inventory = here.again().remover.inventory()
        assert sum(len(entry.tags) for entry in inventory.entries) == 212
        assert here.hub is not None
        assert len(here.hub.api.requests("GET", "/tags")) >= 3


@pytest.mark.parametrize(
    ("organisation", "login", "expected"),
    [(True, "octocat", "/orgs/acme"), (False, "acme", "/user/"), (False, "", "/users/acme")],
)
def test_packages_are_found_under_organisations_users_and_oneself(
    organisation: bool, login: str, expected: str, tmp_path: Path
) -> None:
    with two_images("ghcr", tmp_path) as here:
        assert here.github is not None
        here.github.organisation = organisation
        here.github.tokens[SECRET] = Token(
            login=login, scopes=None if login == "" else ("delete:packages",)
        )
        prune(here)
        assert here.tags() == {"1.0.0"}
        listings = here.github.api.requests("GET", "/versions")
        assert listings
        assert all(one.path.startswith(expected) for one in listings)


def test_a_classic_token_without_the_right_is_told_before_anything(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        assert here.github is not None
        here.github.tokens[SECRET] = Token(scopes=("read:packages", "write:packages"))
        with pytest.raises(CredentialError, match="lacks delete:packages"):
            here.again().remover.abilities()


def test_a_package_that_the_token_can_not_see_is_no_empty_repository(tmp_path: Path) -> None:
    with two_images("ghcr", tmp_path) as here:
        assert here.github is not None
        here.github.tokens[SECRET] = Token(scopes=None, sees=False)
        with pytest.raises(CredentialError, match="does not show it"):
            here.again().remover.inventory()


PAST = "1000000001"
LIMITS = [
    Status(429, b"Too Many Requests (HAP429).", {"Retry-After": "0", "Content-Type": "text/plain"}),
    Status(429, b'{"message":"slow"}', {"X-Retry-After": PAST}),
    Status(
        403,
        b'{"message":"API rate limit exceeded"}',
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": PAST},
    ),
    Status(403, b'{"message":"You exceeded a secondary rate limit"}', {"Retry-After": "0"}),
    Status(503, b""),
]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", ["hub", "ghcr"])
def test_limits_are_waited_for_and_are_no_missing_right(
    kind: str, limit: Status, tmp_path: Path
) -> None:
    with two_images(kind, tmp_path, On(".*", "/versions|/tags", fault=limit, nth=3)) as here:
        prune(here)
        assert here.tags() == {"1.0.0"}
