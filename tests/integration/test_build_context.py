"""What real engines send of a context, against what podbuild believes they send."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.inputs.ignore import Matcher
from podbuild.build.jobs import build_all
from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from tests.builds import NATIVE, Bench, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

OWN = """\
FROM base
COPY . /sent
COPY --from=all . /copied
RUN --mount=type=bind,from=all,target=/m cd /m && find . -type f >/mounted
RUN --mount=type=bind,target=/m cd /m && find . -type f | sort >/seen
RUN cd /sent && find . -type f | sort >/copied-names
"""
SEEDS = range(10)
NAMES = ("a", "b", "ab", "c.txt", ".hid", "x+y", "d(1)", "e f")
PARTS = ("a", "b", "*", "**", "a*", "?", "*.txt", ".hid", "[ab]", "ab", "x+y", "d(1)", r"\a", "**b")


@pytest.fixture(scope="module", params=list(EngineKind))
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    found = new_bench(tmp_path_factory.mktemp("context"), request.param)
    yield found
    remove_bench(found)


def random_tree(chance: random.Random, folder: Path) -> None:
    """Make files three folders deep."""
    for _ in range(14):
        path = folder.joinpath(*chance.choices(NAMES, k=chance.randint(1, 3)))
        if any(parent.is_file() for parent in (path, *path.parents)) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def random_ignore(chance: random.Random) -> str:
    def pattern() -> str:
        mark = chance.choice(["", "", "", "!", "/", "! "])
        return mark + "/".join(chance.choices(PARTS, k=chance.randint(1, 3)))

    extra = chance.choice(["", "# a comment\n", "\n", "  \n"])
    return extra + "\n".join(pattern() for _ in range(chance.randint(1, 4))) + "\n"


def test_what_is_sent_is_what_is_hashed(bench: Bench) -> None:
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\nlayers = false\n'
    for seed in SEEDS:
        chance = random.Random(seed)
        folder = bench.project / f"c{seed}"
        folder.mkdir()
        random_tree(chance, folder)
        (folder / ".containerignore").write_text(random_ignore(chance))
        bench.write(f"f{seed}/Containerfile", "FROM scratch\nCOPY . /\nCOPY <<X /marker\nx\nX\n")
        toml += f'[images.i{seed}]\ncontext = "c{seed}"\n'
        toml += f'containerfile = "f{seed}/Containerfile"\n'
    plan = bench.plan(toml)
    with opened(bench) as place:
        work = place.work(plan)
        built = build_all(work)
        built.check()
        for seed in SEEDS:
            job = Job(f"i{seed}", NATIVE)
            matcher = Matcher(work.recipes[job].patterns)
            folder = bench.project / f"c{seed}"
            believed = {
                name
                for path in folder.rglob("*")
                if path.is_file() and not matcher.excludes(name := str(path.relative_to(folder)))
            }
            sent = set(place.files(job.image, built.images[job].manifest)) - {"marker"}
            assert sent == believed, repr((folder / ".containerignore").read_text())


def test_the_mode_of_the_contexts_own_folder_reaches_no_image(bench: Bench) -> None:
    bench.write("r/Containerfile", "FROM scratch\nCOPY . /made/by/copy/\nCOPY . /other\n")
    toml = f'[images.r]\ncontext = "r"\nplatforms = ["{NATIVE}"]\n'
    digests = set()
    with opened(bench) as place:
        for mode in (0o755, 0o700, 0o777):
            (bench.project / "r").chmod(mode)
            (image,) = place.build(toml).images.values()
            digests.add(image.manifest.digest)
    assert len(digests) == 1


def test_a_pattern_that_begins_with_a_number_sign_holds(bench: Bench) -> None:
    bench.write("n/Containerfile", "FROM scratch\nCOPY . /\n")
    bench.write("n/#draft#", "an editor's own")
    bench.write("n/.containerignore", "/#draft#\n")
    with opened(bench) as place:
        (image,) = place.build(
            f'[images.n]\ncontext = "n"\nplatforms = ["{NATIVE}"]\n'
        ).images.values()
    assert "#draft#" not in place.files("n", image.manifest)


def test_what_podbuild_writes_is_sent_by_no_context(bench: Bench) -> None:
    """Not by an ignore file that brings back all of dist, nor by an extra context, whole or not."""
    for name in (".git/HEAD", "dist/state.json", "dist/app.js"):
        bench.write(name, name)
    bench.write("o/Containerfile", OWN)
    bench.write("o/ignore", "*\n!dist\n!base/busybox*\n")
    base = bench.write_base(NATIVE)
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n{base}[images.o]\ncontext = "."\n'
    toml += 'containerfile = "o/Containerfile"\nignorefile = "o/ignore"\n'
    toml += 'contexts = { base = "image:base", all = "." }\n'
    with opened(bench) as place:
        image = place.build(toml).images[Job("o", NATIVE)]
        files = place.files("o", image.manifest)
    assert files["seen"] == files["copied-names"]  # no more is among the inputs
    mounted = files["mounted"].decode().split()
    for found in ([*files], [f"copied/{name.removeprefix('./')}" for name in mounted]):
        assert {name for name in found if name.endswith("app.js")} >= {"copied/dist/app.js"}
        assert not [name for name in found if "state.json" in name or ".git/" in name]


IGNORED = {  # ignore file -> what is left of a.go, d/b.go, d/c.pem, x/data, x/5ata
    "*\n!**/*.go\n": {"a.go", "d/b.go"},
    "**.pem\n": {"a.go", "d/b.go", "x/data", "x/5ata"},
    "x/\\data\n": {"a.go", "d/b.go", "d/c.pem", "x/data"},
    "*\n!d/**/b.go\n": {"d/b.go"},
}


@pytest.mark.parametrize("text", IGNORED)
def test_engines_see_what_docker_would_send(bench: Bench, text: str) -> None:
    """Through the context, through an extra one and through a mount."""
    for name in ("a.go", "d/b.go", "d/c.pem", "x/data", "x/5ata"):
        bench.write(f"e/{name}", name)
    bench.write("e/.dockerignore", text)
    bench.write(
        "e.file",
        "FROM base\nCOPY . /sent\nCOPY --from=more . /more\n"
        "RUN --mount=type=bind,target=/m cp -r /m /mounted\n",
    )
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n{bench.write_base(NATIVE)}[images.e]\n'
    toml += 'context = "e"\ncontainerfile = "e.file"\n'
    toml += 'contexts = { base = "image:base", more = "e" }\n'
    with opened(bench) as place:
        files = place.files("e", place.build(toml).images[Job("e", NATIVE)].manifest)
    for folder in ("sent", "more", "mounted"):
        found = {name.removeprefix(f"{folder}/") for name in files if name.startswith(folder)}
        assert found - {".dockerignore"} == IGNORED[text], folder


EXCLUDED = {  # instruction -> what BuildKit copies of x/a.md, x/.env, x/s/c.md, x/s/.env
    "COPY --exclude=*.md x /0/": {".env", "s/c.md", "s/.env"},
    "COPY --exclude=.env x /1/": {"a.md", "s/c.md", "s/.env"},
    "COPY --exclude=**/.env --from=src /x /2/": {"a.md", "s/c.md"},
    "COPY --exclude=* --exclude=!a.md x /3/": {"a.md"},
    "COPY --exclude=*.md x/* /4/": {".env", "a.md"},  # c.md counts from s
    "COPY --exclude=s/.env --from=more . /5/": {"a.md", ".env", "s/c.md"},
}


def test_exclude_counts_from_the_folder_that_is_copied(bench: Bench) -> None:
    for name in ("a.md", ".env", "s/c.md", "s/.env"):
        bench.write(f"u/x/{name}", name)
    lines = ["FROM scratch AS src", "COPY . /", "FROM scratch", *EXCLUDED]
    bench.write("u.file", "\n".join(lines))
    toml = f'[images.u]\ncontext = "u"\ncontainerfile = "u.file"\nplatforms = ["{NATIVE}"]\n'
    toml += 'contexts = { more = "u/x" }\n'
    with opened(bench) as place:
        files = place.files("u", place.build(toml).images[Job("u", NATIVE)].manifest)
    for number, (text, copied) in enumerate(EXCLUDED.items()):
        start = f"{number}/"
        found = {name.removeprefix(start) for name in files if name.startswith(start)}
        assert found == copied, text


def test_git_is_sent_where_the_ignore_file_wants_it(bench: Bench) -> None:
    bench.write("g/Containerfile", "FROM scratch\nCOPY . /\n")
    bench.write("g/.git/HEAD", "ref: refs/heads/main\n")
    toml = f'[images.g]\ncontext = "g"\nplatforms = ["{NATIVE}"]\n'
    with opened(bench) as place:
        (without,) = place.build(toml).images.values()
        bench.write("g/.containerignore", "!.git\n")
        (image,) = place.build(toml).images.values()
    assert ".git/HEAD" not in place.files("g", without.manifest)
    assert ".git/HEAD" in place.files("g", image.manifest)


def test_every_platform_gets_an_image_that_says_so(bench: Bench) -> None:
    names = ("386", "amd64/v2", "arm", "arm64", "s390x")
    bench.write("p/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
    platforms = [f"linux/{name}" for name in names]
    plan = bench.plan(f'[images.p]\ncontext = "p"\nplatforms = {json.dumps(platforms)}\n')
    with opened(bench) as place:
        built = build_all(place.work(plan))
        built.check()
        index = place.assemble(plan, built)["p"]
    assert [child.platform for child in index.children] == sorted(map(Platform.parse, platforms))
