"""Generated messages of ``proto/auth``."""
