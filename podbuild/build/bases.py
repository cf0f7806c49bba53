"""What bases from outside hand on to the images built on them, read once per digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from podbuild.build.engine.registries_conf import Mirror, RegistriesConf, with_own
from podbuild.build.engine.registries_files import user_registries_conf
from podbuild.build.image import read_config
from podbuild.build.inputs.wanted import BaseFacts
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform, Reference
from podbuild.oci.store import Store
from podbuild.system.records import JSONValue, Records, string_map
from podbuild.workspace import Services

_RECORD = "bases.json"
_KEPT = ("Env", "OnBuild", "User")
_LOCK = Lock()


def registries_conf(services: Services) -> RegistriesConf:
    """Give the user's registries.conf with the configuration's mirrors and plain-HTTP hosts."""
    plain = {each.host for each in services.config.registries if each.insecure}
    return with_own(
        user_registries_conf(services.environment),
        mirrors=services.config.mirrors,
        insecure=sorted(plain),
    )


@dataclass(frozen=True, kw_only=True)
class Bases:
    """Reads configs of pinned bases. `open_store` opens a place that serves a repository."""

    conf: RegistriesConf
    open_store: Callable[[Mirror], Store]
    records: Records

    def facts(self, pin: str, platform: Platform) -> BaseFacts | None:
        """Give what a pinned base hands on; None where nothing says so.

        A digest always says the same, so that it is asked for once on each machine.
        """
        key = f"{pin.rpartition('@')[2]} {platform}"
        with _LOCK:
            known = self.records.read(_RECORD)
            entry = known.get(key)
            if isinstance(entry, dict) and entry.keys() >= {*_KEPT}:
                return _facts(entry)
            config = self._config(Reference.parse(pin), platform)
            if config is None:
                return None
            kept: JSONValue = {name: config.get(name) for name in _KEPT}
            self.records.write(_RECORD, {**known, key: kept})
            return _facts(kept)

    def _config(self, reference: Reference, platform: Platform) -> dict[str, JSONValue] | None:
        for mirror in self.conf.sources(str(reference)):
            try:
                store = self.open_store(mirror)
                manifest = _image(store, store.manifest(reference.target), platform)
                if manifest is not None:
                    found = read_config(store, manifest).get("config")
                    return found if isinstance(found, dict) else {}
            except PodbuildError:
                continue
        return None


def _image(store: Store, manifest: Manifest | None, platform: Platform) -> Manifest | None:
    if manifest is None or not manifest.is_index:
        return manifest
    for child in manifest.children:
        if child.platform == platform:
            return store.manifest(child.digest)
    return None


def _facts(value: JSONValue) -> BaseFacts:
    config = value if isinstance(value, dict) else {}
    pairs = config.get("Env")
    environment = {
        name: text
        for pair in (pairs if isinstance(pairs, list) else [])
        if isinstance(pair, str)
        for name, _, text in [pair.partition("=")]
    }
    triggers = config.get("OnBuild")
    texts = tuple(map(str, triggers)) if isinstance(triggers, list) else ()
    user = config.get("User")
    return BaseFacts(
        string_map(dict(environment)), texts, user=user if isinstance(user, str) else ""
    )
