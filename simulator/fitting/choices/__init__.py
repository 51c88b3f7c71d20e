"""Logs that tell what was chosen alone: taste and closeness by the next choice."""
