"""Generated messages of ``proto/register``."""
