"""The registry of podbuild's own that engines deliver to."""
