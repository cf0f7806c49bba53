"""The registry of podbuild's own that engines deliver to."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
