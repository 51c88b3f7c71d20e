"""From a log to users: every parameter estimated, or assumed with its source."""
