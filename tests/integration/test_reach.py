"""What COPY and mounts really take of a context, against what the input hash covers.

Every file, link and folder has a name of its own, so that where it came from can be told from an
image: what the hash covers and what the image holds must be the same.
"""

from __future__ import annotations

import io
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.hash import input_hash
from podbuild.build.inputs.reach import Reach
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.wanted import MAIN, BaseFacts, wanted_by
from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.manifest import Manifest
from podbuild.plan.model import Job
from tests.builds import NATIVE, Bench, Open, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

COPIES, MOUNTS = 30, 2
IGNORED = "*.log\nd1*/**/f*.md\n!*7.md\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = new_bench(tmp_path_factory.mktemp("reach"), EngineKind.BUILDAH)
    yield found
    remove_bench(found)


def random_tree(chance: random.Random, folder: Path) -> list[str]:
    """Make folders d0.., files f0.. and links l0.., each with its own name; give the names."""
    folders, names = [""], []
    for number in range(14):
        folders.append(f"{chance.choice(folders)}/d{number}".lstrip("/"))
        (folder / folders[-1]).mkdir()
    for number in range(60):
        name = f"{chance.choice(folders)}/f{number}{chance.choice(['.txt', '.md', '.log', ''])}"
        names.append(name.lstrip("/"))
        (folder / names[-1]).write_text(names[-1])
    for number in range(10):
        target = chance.choice([*names[:60], *folders[1:]])
        place = chance.choice(folders)
        ups = "../" * (place.count("/") + 1) if place else ""
        names.append(f"{place}/l{number}".lstrip("/"))
        (folder / names[-1]).symlink_to(chance.choice([f"/{target}", f"{ups}{target}"]))
    return [*names, *folders[1:]]


def random_source(chance: random.Random, names: list[str]) -> str:
    """Give a source made from what is there: as it is, with globs, through `..` or a slash."""
    parts = chance.choice(names).split("/")
    at = chance.randrange(len(parts))
    change = chance.choice(["", "", "*", "?", "[", "**", "up", "/", "/."])
    match change:
        case "*":
            parts[at] = chance.choice(["*", f"{parts[at][:1]}*", f"*{parts[at][-1:]}"])
        case "?":
            parts[at] = f"?{parts[at][1:]}"
        case "[":
            parts[at] = f"[a-z]{parts[at][1:]}"
        case "**":
            parts[:at] = ["**"]
        case "up":
            parts.insert(0, "..")
        case "/":
            parts.insert(0, "")
        case "/.":
            parts.append(".")
        case _:
            pass
    return "/".join(parts)


def random_copy(chance: random.Random, names: list[str], number: int) -> str:
    sources = [random_source(chance, names) for _ in range(chance.choice([1, 1, 2]))]
    flag = chance.choice(["", "", "", "--parents "])
    if chance.random() < 0.2:
        quoted = ", ".join(f'"{each}"' for each in (*sources, f"/out/{number}/"))
        return f"COPY {flag}[{quoted}]"
    return f"COPY {flag}{' '.join(sources)} /out/{number}/"


def taken(recipe: Recipe, text: str) -> Reach:
    parsed = read_containerfile(text)
    wanted = wanted_by(parsed, None, recipe.variables, (), lambda *_: BaseFacts()).places[MAIN]
    return Contents().sent(recipe.context, recipe.matcher, wanted).reach


def copied(place: Open, job: Job, built: Manifest) -> dict[str, set[str]]:
    """Give, by number, what is in /out: files by where they came from, the rest by name."""
    found: dict[str, set[str]] = defaultdict(set)
    for layer in built.layers:
        with place.store(job.image).blob(layer) as blob:
            data = b"".join(blob.chunks())
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for entry in archive:
                top, _, rest = entry.name.partition("/")
                number, _, name = rest.partition("/")
                if top != "out":
                    continue
                content = archive.extractfile(entry) if entry.isreg() else None
                if content:
                    text = content.read().decode()
                    found[number].add(".dockerignore" if text == IGNORED else text)
                elif name:
                    found[number].add(name.rpartition("/")[2])
    return found


def is_something(found: Reach) -> bool:
    return not found.hidden and not all(entry.is_link for entry in found.entries.values())


def believed(found: Reach, *, parents: bool) -> tuple[set[str], set[str]]:
    """Give what must be in the image, and links that were followed on the way perhaps."""
    names = found.entries.items()
    followed = {name.rpartition("/")[2] for name, entry in names if entry.is_link}
    certain = {
        name if entry.is_file else name.rpartition("/")[2]
        for name, entry in names
        if not entry.is_link and (name != "." or parents)
    }
    return certain - {"."}, followed


def behind_links(folder: Path) -> set[str]:
    """Give the names of folders that links lead through: what is copied may have the link's."""
    links = (path for path in folder.rglob("l*") if path.is_symlink())
    return {name for link in links for name in link.readlink().parts}


def test_what_an_image_takes_is_what_its_hash_covers(bench: Bench) -> None:
    chance = random.Random(11)
    folder = bench.project / "r"
    folder.mkdir()
    names = random_tree(chance, folder)
    (folder / ".dockerignore").write_text(IGNORED)
    bench.write("r.file", "FROM scratch\n")
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\nlayers = false\n{bench.write_base(NATIVE)}'
    toml += '[images.r]\ncontext = "r"\ncontainerfile = "r.file"\n'
    toml += 'contexts = { base = "image:base" }\n'
    job = Job("r", NATIVE)
    recipe = bench.recipes(bench.plan(toml))[job]
    texts: dict[str, str] = {}
    while len(texts) < COPIES:
        number = str(len(texts))
        text = random_copy(chance, names, len(texts))
        sources = text.removeprefix("COPY ").removeprefix("--parents ").strip("[]").split()[:-1]
        each = [taken(recipe, f"FROM scratch\nCOPY {name.strip(',')} /\n") for name in sources]
        if all(map(is_something, each)):  # an engine ends for nothing
            texts[number] = text
    for extra in range(COPIES, COPIES + MOUNTS):
        source = chance.choice([name for name in names if name.rpartition("/")[2][0] == "d"])
        if taken(recipe, f"FROM scratch\nCOPY {source} /\n").entries:
            texts[str(extra)] = (
                f"RUN --mount=type=bind,source={source},target=/m cp -a /m/. /out/{extra}"
            )
    outs = " ".join(f"/out/{number}" for number in range(COPIES, COPIES + MOUNTS))
    bench.write("r.file", "\n".join(["FROM base", f"RUN mkdir -p {outs}", *texts.values()]))
    with opened(bench) as place:
        image = place.build(toml).images[job].manifest
        held = copied(place, job, image)
    behind = behind_links(folder)
    for number, text in texts.items():
        certain, followed = believed(
            taken(recipe, f"FROM scratch\n{text}\n"), parents="--parents" in text
        )
        if text.startswith("RUN"):
            certain.discard(text.partition("source=")[2].partition(",")[0].rpartition("/")[2])
        assert held[number] - followed <= certain, text
        assert certain - behind <= held[number], text


def test_an_image_is_built_again_only_for_what_it_takes(bench: Bench) -> None:
    """Thirty images with the context `.`; a file of one of them changes, then a README."""

    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n'
    for number in range(30):
        bench.write(f"apps/{number}/main", f"{number}")
        bench.write(f"apps/{number}/Containerfile", f"FROM scratch\nCOPY apps/{number} /app\n")
        toml += f'[images.a{number}]\ncontext = "."\n'
        toml += f'containerfile = "apps/{number}/Containerfile"\n'

    def hashes() -> dict[Job, str]:
        recipes, contents = bench.recipes(bench.plan(toml)), Contents()
        return {
            job: str(input_hash(recipe, engine="x", contents=contents, git="", inner={}))
            for job, recipe in recipes.items()
        }

    before = hashes()
    bench.write("README.md", "new")
    assert hashes() == before
    bench.write("apps/7/main", "changed")
    after = hashes()
    assert {job.image for job in before if before[job] != after[job]} == {"a7"}
