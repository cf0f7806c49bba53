"""Images: inputs -> engine -> staging -> indexes."""
