"""Generated messages of ``proto/config``."""
