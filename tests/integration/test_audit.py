"""What is in released images, and which line put it there."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from tests.builds import busybox
from tests.contract import wrong
from tests.schemas import problems
from tests.shops import BASE, Done, Shop, environment
from tests.unit.oci.test_hidden import unpacked_bytes

pytestmark = pytest.mark.integration

WEB = """\
FROM base AS build
RUN head -c 2000000 /dev/zero > /tool
FROM base
RUN <<EOF
mkdir -p /var/lib/apt/lists /root/.cache/pip /etc /app
head -c 3000000 /dev/urandom > /var/lib/apt/lists/debian
head -c 40000 /dev/urandom > /root/.cache/pip/wheel
head -c 2500000 /dev/urandom > /app/big
EOF
COPY .npmrc /root/.npmrc
COPY .git /app/.git
# what follows is meant
# podbuild: ignore=setuid
RUN cp /bin/busybox /app/su && chmod 4755 /app/su
RUN chmod 755 /app/big && rm /root/.npmrc
COPY --from=build /tool /app/tool
CMD ["sh"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("audit")
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop.write("base/Containerfile", BASE)
    for each in ("amd64", "arm64"):
        (shop.root / "base" / f"busybox-{each}").write_bytes(busybox(each).read_bytes())
    shop.write("web/Containerfile", WEB)
    shop.write("web/.dockerignore", "!.git\n")
    shop.write("web/.npmrc", "//registry.example.com/:_authToken=npm_0123456789abcdef\n")
    shop.write(".gitignore", "/dist/\n")
    shop.write(
        "podbuild.toml",
        '[project]\nname = "shop"\n[images.base]\ncontext = "base"\npublish = false\n'
        '[images.web]\ncontext = "web"\ncontexts = { base = "image:base" }\n',
    )
    shop.git("init", "-q", "-b", "main")
    (shop.root / "web" / ".git" / "objects").mkdir(parents=True)
    shop.write("web/.git/objects/aa", "some object\n\n")
    shop.commit("v1.0.0")
    done = shop("release", "v1.0.0", "--no-progress")
    assert done.code == 0, done.text
    return shop


@pytest.fixture(scope="module")
def audit(shop: Shop) -> Done:
    return shop("audit")


LINES = (
    (
        "error: web/Containerfile:10: web linux/amd64, linux/arm64: /root/.npmrc holds a password "
        "or token; web/Containerfile:15 hides it, and layer 4 still has it [secret-in-layer]"
    ),
    (
        "warning: web/Containerfile:4: web linux/amd64, linux/arm64: 3.0 MB of package lists: "
        "/var/lib/apt/lists [package-lists]"
    ),
    (
        "warning: web/Containerfile:15: web linux/amd64, linux/arm64: changes mode or owner of "
        "2.5 MB of line 4, which stay in its layer: /app/big [hidden-bytes]"
    ),
    (
        "warning: web/Containerfile:4: web linux/amd64, linux/arm64: 40.0 kB of a language's "
        "package cache: /root/.cache/pip [language-cache]"
    ),
    (
        "warning: web/Containerfile:11: web linux/amd64, linux/arm64: 13 B of a git repository: "
        "/app/.git [git-in-image]"
    ),
    ("note: web/Containerfile:3: web linux/amd64, linux/arm64: runs as root: no USER [root-user]"),
)


@pytest.mark.parametrize("line", LINES)
def test_audit_names_the_line_that_put_it_there(audit: Done, line: str) -> None:
    assert audit.out.splitlines().count(line) == 1, audit.text
    assert audit.code == 10
    assert "setuid" not in audit.text  # a comment silences it


def test_what_is_published_is_the_same_as_what_is_staged(shop: Shop, audit: Done) -> None:
    staged = json.loads((shop.root / "dist/audit.json").read_text())
    done = shop("audit", "web", "--tag", "1.0.0", "--platform", "linux/arm64", "--json")
    assert done.code == 10, done.text
    published = json.loads(done.out)
    assert wrong("audit", published) == []
    (image,) = published["images"]
    (same,) = [each for each in staged["images"] if each["platform"] == "linux/arm64"]
    assert image["reference"].startswith("oci:dist/registry/web@sha256:")
    assert {**image, "reference": ""} == {**same, "reference": ""}
    assert image["visible"] + image["hidden"] == image["total"]
    assert sum(each["bytes"] for each in image["owners"]) == image["visible"]
    assert sum(each["bytes"] for each in image["hidden_by"]) == image["hidden"]
    assert len(published["findings"]) == audit.out.count(" [")


def test_hidden_bytes_are_what_unpacking_saves(shop: Shop) -> None:
    value = json.loads((shop.root / "dist/audit.json").read_text())
    for image in value["images"]:
        blobs = shop.root / "dist/registry/web/blobs/sha256"
        layers = [
            gzip.decompress((blobs / each["digest"].partition(":")[2]).read_bytes())
            for each in image["layers"]
        ]
        assert unpacked_bytes(layers) == image["visible"]


@pytest.mark.parametrize(
    ("form", "schema"), [("sarif", "sarif-2.1.0"), ("gitlab", "gitlab-code-quality")]
)
def test_formats_for_machines_are_valid(shop: Shop, form: str, schema: str) -> None:
    done = shop("audit", "--format", form)
    assert problems(json.loads(done.out), schema) == []


def test_a_runner_gets_annotations(shop: Shop) -> None:
    done = shop("audit", "--format", "github")
    assert done.out.startswith("::error file=web/Containerfile,line=10,title=secret-in-layer::")


def test_each_step_is_timed(shop: Shop) -> None:
    metrics = json.loads((shop.root / "dist/metrics.json").read_text())
    job = next(each for each in metrics["jobs"] if each["image"] == "web")
    times = {each["line"]: each for each in job["step_times"]}
    assert [*times] == [1, 2, 3, 4, 10, 11, 14, 15, 16, 17]
    assert times[4]["text"] == "RUN <<EOF"
    assert not times[4]["cached"]
    assert 0 < sum(each["seconds"] for each in times.values()) <= job["seconds"]


def test_the_page_says_which_lines_the_bytes_are_of(shop: Shop) -> None:
    page = (shop.root / "dist/report.html").read_text()
    rows = page[page.index("Where the bytes are") : page.index("Slowest steps")]
    found = re.findall(r"<td>web linux/(\w+)</td><td>([^<]*)</td>", rows)
    # what a changed mode copies up costs as much again as the file
    largest = ["web/Containerfile:4", "web/Containerfile:15", "base/Containerfile:3"]
    assert [place for platform, place in found if platform == "amd64"][:3] == largest
    assert [place for platform, place in found if platform == "arm64"][:3] == largest


def test_a_rule_that_the_configuration_silences_stays_silent_when_lines_move(shop: Shop) -> None:
    old = (shop.root / "podbuild.toml").read_text()
    more = '[audit]\nignore = ["web:secret-in-layer", "package-cache"]\n'
    shop.write("podbuild.toml", old + more)
    shop.write("web/Containerfile", f"# one line more\n{WEB}")
    try:
        done = shop("audit")
    finally:
        shop.write("podbuild.toml", old)
        shop.write("web/Containerfile", WEB)
    assert done.code == 0, done.text
    assert "[secret-in-layer]" not in done.text
    assert "[setuid]" not in done.text
    assert "nothing is found that ignoring package-cache would silence" in done.out


def test_two_versions_are_compared_by_package_file_and_layer(shop: Shop) -> None:
    package = "RUN mkdir -p /srv/node_modules/ms && cd /srv/node_modules/ms && "
    package += """echo '{"name": "ms", "version": "2.0"}' > package.json\n"""
    shop.write("web/Containerfile", WEB.replace('CMD ["sh"]', f'{package}CMD ["sh"]'))
    shop.commit("v1.1.0")
    done = shop("build", "web", "--platform", "linux/amd64", "--no-progress")
    assert done.code == 0, done.text
    done = shop("diff", "1.0.0", "--platform", "linux/amd64", "--json")
    assert done.code == 0, done.text
    value = json.loads(done.out)
    assert wrong("diff", value) == []
    (image,) = value["images"]
    (layer,) = image["layers"]["new"]
    assert image["update"] == layer["size"]
    assert image["packages"] == [{"name": "npm:ms", "before": [], "after": ["2.0"], "bytes": 33}]
    assert [(each["path"], each["owner"]) for each in image["files"]] == [
        ("/srv/node_modules/ms/package.json", "npm:ms")
    ]
    assert "+33 B  npm:ms new -> 2.0" in shop("diff", "1.0.0").out
    same = shop("diff", "1.0.0", "1.0.0")
    assert same.out.splitlines() == [
        "web linux/amd64: the same image",
        "web linux/arm64: the same image",
    ]
