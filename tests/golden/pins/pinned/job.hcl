job "shop" {
  config { image = "ghcr.io/acme/web:1.2.3@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" } # image = "ghcr.io/acme/web:1"
  # image = "ghcr.io/acme/web:1"
  other = "ghcr.io/acme/web-admin:1"
}
