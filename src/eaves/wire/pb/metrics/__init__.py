"""Generated messages of ``proto/metrics``."""
