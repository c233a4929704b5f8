"""Generated messages of ``proto/info``."""
