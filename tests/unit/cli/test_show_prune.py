"""What pruning did, as people read it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from podbuild.cli.show_prune import prune_text
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.plan import RemovalItem


def test_tags_of_statements_share_a_line() -> None:
    """A signed image of two platforms has six of them, and each version an image."""
    subjects = [f"{number:064x}" for number in range(30)]
    kept = [
        RemovalItem(
            digest=Digest(f"sha256:{each}"), reason="its image stays", tag=Tag(f"sha256-{each}.sig")
        )
        for each in subjects
    ]
    plan = SimpleNamespace(removed=(), kept=kept)
    place = SimpleNamespace(store=SimpleNamespace(name="r/x"))
    pruned = SimpleNamespace(
        planned=SimpleNamespace(plan=plan, place=place), cleaned=None, error=None, requests=1
    )
    head, line = prune_text(cast(Any, (pruned,))).splitlines()
    assert head == "r/x: 0 to delete, 30 stay (1 request)"
    assert line.startswith("  keep 30: its image stays: sha256-000000000000....sig, ")
    assert line.endswith("and 18 more (--json lists all)")
    assert len(line) < 400
