"""Generated messages of ``proto/profile``."""
