"""Generated messages of ``proto/proxy``."""
