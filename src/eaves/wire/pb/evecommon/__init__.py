"""Generated messages of ``proto/evecommon``."""
