"""Level-based reconcilers: each looks at what is wanted and what is, and writes the difference; none branches on kinds of events."""
