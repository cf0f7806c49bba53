"""Images: inputs -> engine -> staging -> indexes."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
