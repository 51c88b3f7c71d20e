"""The study of feedback loops."""
