"""What a copy to the name of a link is a copy to, as far as the Containerfile says."""

from __future__ import annotations

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.linked import linked_destinations


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("RUN ln -s /there /here\nCOPY a /here", "/there"),
        ("RUN ln -sfn there /here\nADD a /here", "/there"),
        ("RUN mkdir /d && cd /d && ln -s ../there here\nCOPY a /d/here", "/there"),
        ("WORKDIR /d\nRUN ln --symbolic x.txt a.txt\nCOPY a a.txt", "/d/x.txt"),
        ("RUN ln -s a /x; ln -s /x /y\nCOPY ['a', '/y']".replace("'", '"'), "/a"),
        ("RUN ln -s /opt/v1/tool /usr/bin/tool\nCOPY a /usr/bin/tool", "/opt/v1/tool"),
        ("RUN <<E\nln -s /there /here\nE\nCOPY <<E /here\nx\nE", "/there"),
        ("ENV T=here\nRUN ln -s /there /here\nCOPY a /$T", "/there"),
        ("COPY a /o/x\nRUN ln -s x /o/y\nCOPY b /o/y", "/o/x"),
        ("COPY a /o/\nRUN ln -s x /o/y\nCOPY b /o/y", "/o/x"),
        ("RUN ln -s /there /here\nCOPY --link --chmod=755 a /here", "/there"),
        ("RUN ln -s /there /here\nCOPY --link=false a /here", "/there"),
        # what is a folder, no link, not sure, or not only there
        ("RUN ln -s /there /here\nCOPY a /here/", None),
        ("RUN ln -s /there /here\nCOPY a b /here", None),
        ("RUN ln -s /there /here\nCOPY --link a /here", None),
        ("RUN ln /there /here\nCOPY a /here", None),
        ("RUN ln -s /there /etc\nCOPY a /etc", None),
        ("RUN ln -s /there /usr/share\nCOPY a /usr/share", None),
        ("RUN ln -s ../one.conf /etc/conf.d\nCOPY a /etc/conf.d", None),
        ("RUN mkdir -p /here/in && ln -s /there /here\nCOPY a /here", None),
        ("WORKDIR /here/in\nRUN ln -s /there /here\nCOPY a /here", None),
        ("RUN test -e /here || ln -s /there /here\nCOPY a /here", None),
        ("RUN if x; then ln -s /there /here; fi\nCOPY a /here", None),
        ("RUN ln -s /there /here\nRUN rm -rf /here\nCOPY a /here", None),
        ("RUN ln -s /there /in.txt\nRUN rm -rf *\nCOPY a /in.txt", None),
        ("RUN ln -s $THERE /here\nCOPY a /here", None),
        ("RUN ln -s there here\nCOPY a here", None),
        ("RUN ln -s one two /here\nCOPY a /here", None),
        ("RUN ln -s /there /here\nWORKDIR /here\nCOPY a .", None),
    ],
)
def test_a_link_that_the_file_makes(text: str, destination: str | None) -> None:
    parsed = read_containerfile(f"FROM base\n{text}\n")
    found = linked_destinations(parsed, parsed.stages[0], {})
    assert list(found.values()) == ([] if destination is None else [destination])


def test_links_of_the_stage_below() -> None:
    parsed = read_containerfile(
        "FROM base AS a\nWORKDIR /w\nRUN ln -s /there here.txt\n"
        "FROM base AS b\nRUN ln -s /elsewhere /w/here.txt\nFROM a\nCOPY x here.txt\n"
    )
    assert linked_destinations(parsed, parsed.stages[2], {}) == {7: "/there"}
    assert linked_destinations(parsed, parsed.stages[1], {}) == {}
