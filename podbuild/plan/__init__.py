"""What will be done: git, versions, tags, guards, what registries hold, the journal."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
