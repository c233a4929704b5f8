"""Stand-ins with state and builders of objects for tests. Nothing of the product imports this package."""
