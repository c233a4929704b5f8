"""Generated messages of ``proto/eaves``."""
