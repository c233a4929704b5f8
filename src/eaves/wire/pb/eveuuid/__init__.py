"""Generated messages of ``proto/eveuuid``."""
