"""Images: content trees of the config, fetched from registries into podman's storage, pinned by digest, removed when unused."""
