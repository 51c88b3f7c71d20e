"""The plumbing of all four packages: errors, files, tables, settings, the terminal."""
