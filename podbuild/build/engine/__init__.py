"""How engines run: arguments, files, namespaces, storage."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
