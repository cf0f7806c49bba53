"""References pinned in place: golden files of each kind, twice in a row."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
import yaml  # type: ignore[import-untyped]

from podbuild.errors import ConfigError
from podbuild.oci.names import Digest
from podbuild.report.json import LockedImage
from podbuild.report.lists import ImageList, ListedImage, PinFormat, listed
from podbuild.report.pins import Names, pin_text

GOLDEN = Path(__file__).parents[2] / "golden" / "pins"
FILES = sorted(path.name for path in GOLDEN.iterdir() if path.is_file())
DIGEST = Digest(f"sha256:{'a' * 64}")
WEB = LockedImage(name="web", tag="1.2.3", digest=DIGEST, platforms={}, repositories={})
NAMES = Names(
    {
        "ghcr.io/acme/web": ("web", WEB),
        "docker.io/acme/web": ("web", WEB),
        "localhost:5000/acme/web": ("web", WEB),
        "ghcr.io/acme/worker": ("worker", None),
    }
)
PINNED = f"ghcr.io/acme/web:1.2.3@{DIGEST}"


def pinned(text: str, name: str = "deploy.yaml") -> str:
    once = pin_text(text, PurePath(name), NAMES)
    twice = pin_text(once.text, PurePath(name), NAMES)
    assert (twice.text, twice.changes) == (once.text, ())
    assert (once.text != text) == bool(once.changes)
    return once.text


@pytest.mark.parametrize("name", FILES)
def test_golden_files_twice_in_a_row(name: str) -> None:
    before, after = ((GOLDEN / part / name).read_bytes().decode() for part in (".", "pinned"))
    assert pinned(before, name) == after


@pytest.mark.parametrize("name", [each for each in FILES if each.endswith(("yaml", "json"))])
def test_what_changes_is_what_a_parser_sees_changed(name: str) -> None:
    """PyYAML judges: same shape, and no other value is another one."""
    if name == "deploy.yaml":  # holds a template, as charts do
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load((GOLDEN / name).read_text())
        return
    before, after = (
        leaves([*yaml.safe_load_all((GOLDEN / part / name).read_text())])
        for part in (".", "pinned")
    )
    changed = {way[-1] for way in after if after[way] != before.get(way)}
    assert changed <= {"image", "tag", "newTag", "digest"}
    assert before.keys() <= after.keys()
    assert {way[-1] for way in after.keys() - before.keys()} <= {"newTag", "digest", "tag"}


def leaves(value: object, way: tuple[object, ...] = ()) -> dict[tuple[object, ...], object]:
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return {way: value}
    return {w: v for key, item in items for w, v in leaves(item, (*way, key)).items()}


@pytest.mark.parametrize(
    "text",
    [
        "image: ghcr.io/acme/web-admin:1\n",
        "image: ghcr.io/acme/web/cache:1\n",
        "image: registry.example.com/ghcr.io/acme/web:1\n",
        "image: {{ .Values.image }}\n",
        "image: ghcr.io/acme/web:$TAG\n",
        "imagePullPolicy: Always\nimages: ghcr.io/acme/web:1\n",
        "note: 'image: ghcr.io/acme/web:1'\n",
        "a: |\n  image: ghcr.io/acme/web:1\n",
        "a: >-\n\n  image: ghcr.io/acme/web:1\nb: 1\n",
        "# image: ghcr.io/acme/web:1\n",
        "image: ghcr.io/acme/worker:1\n",
        "image:\n  name: ghcr.io/acme/web\n",
    ],
)
def test_others_names_comments_and_data_stay(text: str) -> None:
    assert pinned(text) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("image: ghcr.io/acme/web", f"image: {PINNED}"),
        ("image:   ghcr.io/acme/web:1   # x", f"image:   {PINNED}   # x"),
        ("{image: ghcr.io/acme/web:1}", f"{{image: {PINNED}}}"),
        ("- [{a: 1, image: 'ghcr.io/acme/web'}]", f"- [{{a: 1, image: '{PINNED}'}}]"),
        ('"image" : "ghcr.io/acme/web:9@sha256:00"', f'"image" : "{PINNED}"'),
        ("- - image: ghcr.io/acme/web\r\n", f"- - image: {PINNED}\r\n"),
        ("image: !!str ghcr.io/acme/web:1", f"image: !!str {PINNED}"),
        ("\ufeffimage: ghcr.io/acme/web:1", f"\ufeffimage: {PINNED}"),
        ("image: index.docker.io/acme/web:1", f"image: index.docker.io/acme/web:1.2.3@{DIGEST}"),
        ("--- {image: ghcr.io/acme/web:1}", f"--- {{image: {PINNED}}}"),
    ],
)
def test_forms_of_yaml(before: str, after: str) -> None:
    assert pinned(before) == after


@pytest.mark.parametrize(
    ("version", "written"),
    [("1.2.3", "1.2.3"), ("2026.11", '"2026.11"'), ("24.04.1-alpine", "24.04.1-alpine"),
     ("1", '"1"'), ("on", '"on"'), ("2026-11-27", '"2026-11-27"'), ("edge", "edge")],
)  # fmt: skip
def test_a_tag_stays_text_to_yaml(version: str, written: str) -> None:
    image = LockedImage(name="web", tag=version, digest=DIGEST, platforms={}, repositories={})
    names = Names({"ghcr.io/acme/web": ("web", image)})
    text = "image:\n  repository: ghcr.io/acme/web\n  tag: x\n"
    found = pin_text(text, PurePath("values.yaml"), names).text
    assert f"tag: {written}\n" in found
    assert yaml.safe_load(found)["image"]["tag"] == version


def test_what_is_ours_and_not_changed_is_told() -> None:
    text = "env:\n- value: ghcr.io/acme/web:1\n- value: ghcr.io/acme/worker:1 # x\nimage: y\n"
    found = pin_text(text, PurePath("a.yaml"), NAMES)
    assert found.unread == (2, 3)
    found = pin_text("image: ghcr.io/acme/worker:1\n", PurePath("a.yaml"), NAMES)
    assert found.unlocked == ((1, "worker"),)


def images(*names: str) -> ImageList:
    return ImageList(
        images=tuple(
            ListedImage(name=name, repository=f"ghcr.io/acme/{name}", tag="1.2.3", digest=DIGEST)
            for name in names
        ),
        services={"frontend": "web"},
    )


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            PinFormat.COMPOSE,
            {"services": {"frontend": {"image": PINNED},
                          "job": {"image": PINNED.replace("web", "job")}}},
        ),
        (
            PinFormat.HELM,
            {name: {"image": {"repository": f"ghcr.io/acme/{name}", "tag": "1.2.3",
                              "digest": str(DIGEST)}} for name in ("job", "web")},
        ),
        (
            PinFormat.KUSTOMIZE,
            {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component",
             "images": [{"name": f"ghcr.io/acme/{name}", "newTag": "1.2.3", "digest": str(DIGEST)}
                        for name in ("job", "web")]},
        ),
    ],
)  # fmt: skip
def test_lists_for_other_tools(form: PinFormat, expected: object) -> None:
    assert yaml.safe_load(listed(images("job", "web"), form)) == expected


def test_variables_by_digest() -> None:
    assert (
        listed(images("web-api"), PinFormat.ENV) == f"WEB_API_IMAGE=ghcr.io/acme/web-api@{DIGEST}"
    )
    with pytest.raises(ConfigError, match="WEB_API_IMAGE"):
        listed(images("web-api", "web.api"), PinFormat.ENV)
