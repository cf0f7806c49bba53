"""Bases are resolved once, and a failure says which base it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.engine.registries_conf import Mirror, RegistriesConf
from podbuild.build.pins import Pinner
from podbuild.errors import BuildError, CredentialError, InterruptedBySignal, PodbuildError
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Repository, Tag
from podbuild.oci.store import Store
from podbuild.plan.journal import Binding, open_journal
from tests.images import make_image

BASE = "registry.example.com/acme/base:1"
BINDING = Binding(release="1.2.3", commit="c" * 40, configuration="f", toolchain="t")


def pinner(folder: Path, stores: Mapping[str, Store | PodbuildError]) -> Pinner:
    """Give a pinner for which each repository has a store, or fails."""

    def open_store(mirror: Mirror) -> Store:
        found = stores[mirror.location]
        if isinstance(found, PodbuildError):
            raise found
        return found

    journal = open_journal(folder, BINDING).journal
    return Pinner(conf=RegistriesConf(), open_store=open_store, journal=journal)


def test_a_base_is_asked_for_once_per_release(tmp_path: Path) -> None:
    store = MemoryStore()
    image = make_image(store)
    store.put_manifest(image, Tag("1"))
    stores: dict[str, Store | PodbuildError] = {"registry.example.com/acme/base": store}
    pinned = {BASE: str(Repository("registry.example.com", "acme/base").at(image.digest))}
    assert pinner(tmp_path, stores).pin([BASE, BASE]) == pinned
    assert pinner(tmp_path, {}).pin([BASE]) == pinned  # from the journal


def test_a_build_resolves_anew_and_leaves_a_release_its_pins(tmp_path: Path) -> None:
    store = MemoryStore()
    stores: dict[str, Store | PodbuildError] = {"registry.example.com/acme/base": store}
    first, second = make_image(store), make_image(store, b"another")
    store.put_manifest(first, Tag("1"))
    begun = pinner(tmp_path, stores).pin([BASE])
    store.put_manifest(second, Tag("1"))
    build = replace(pinner(tmp_path, stores), anew={BASE})
    assert build.pin([BASE]) == {BASE: f"registry.example.com/acme/base@{second.digest}"}
    assert pinner(tmp_path, stores).pin([BASE]) == begun


def test_a_base_that_does_not_exist_is_named(tmp_path: Path) -> None:
    empty = MemoryStore()
    with pytest.raises(BuildError, match=f"the base {BASE} does not exist"):
        pinner(tmp_path, {"registry.example.com/acme/base": empty}).pin([BASE])


def test_a_registry_that_refuses_says_for_which_base(tmp_path: Path) -> None:
    refusing = CredentialError("registry.example.com wants a login", hint="podman login")
    with pytest.raises(CredentialError) as raised:
        pinner(tmp_path, {"registry.example.com/acme/base": refusing}).pin([BASE])
    assert raised.value.message == f"the base {BASE}: registry.example.com wants a login"
    assert raised.value.hint == "podman login"


def test_a_signal_is_not_about_a_base(tmp_path: Path) -> None:
    stop = InterruptedBySignal(2)
    with pytest.raises(InterruptedBySignal) as raised:
        pinner(tmp_path, {"registry.example.com/acme/base": stop}).pin([BASE])
    assert "base" not in raised.value.message
