"""What cleanup deletes, and what keeps an image."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
