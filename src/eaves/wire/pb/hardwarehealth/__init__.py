"""Generated messages of ``proto/hardwarehealth``."""
