"""Between assemble and publish: what is not fit to be published gets no tag."""

from __future__ import annotations

from podbuild.build.engines import Engines
from podbuild.build.examine.children import Examination, Ignored
from podbuild.build.model import Staged
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.commands.record import Recorder
from podbuild.oci.names import Platform


def judge_images(engines: Engines, staged: Staged, record: Recorder) -> None:
    """Judge the image of every platform, all of them before any verdict.

    Raises PolicyError for one that can't start there: no tag moves then.
    """
    services = engines.services
    with record.step("examine"):
        judged = Examination(
            plan=engines.plan,
            staging=engines.staging,
            cache=services.folders.cache,
            build=Platform("linux", native_architecture()),
            ignored=Ignored(rules=frozenset(services.config.audit.ignore)),
        ).judge({job: each.manifest for job, each in staged.images.items()})
        record.judged(judged.faults, judged.unread)
    judged.check()
