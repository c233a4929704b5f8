"""Generated messages of ``proto/certs``."""
