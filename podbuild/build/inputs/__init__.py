"""What reaches an image: Containerfile, context, secrets, and the hash of it all."""

from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)
