"""A client of registries and layouts, which knows nothing of podbuild.toml."""
