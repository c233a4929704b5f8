"""Generated messages of ``proto/attest``."""
