"""Generated messages of ``proto/logs``."""
