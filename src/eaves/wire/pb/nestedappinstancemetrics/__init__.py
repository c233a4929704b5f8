"""Generated messages of ``proto/nestedappinstancemetrics``."""
