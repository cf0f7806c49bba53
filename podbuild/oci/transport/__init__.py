"""HTTP as registries need it: one pool, proxies, authorities, problems told in one line."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
