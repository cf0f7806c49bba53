"""A client of registries and layouts, which knows nothing of podbuild.toml."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
