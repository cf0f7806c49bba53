"""HTTP as registries need it: one pool, proxies, authorities, problems told in one line."""
