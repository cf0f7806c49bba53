"""Whether what was built can run, told from its layers alone: before anything is published."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
