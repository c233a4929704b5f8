"""Generated messages of ``proto/flowlog``."""
