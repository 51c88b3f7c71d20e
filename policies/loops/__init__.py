"""Compiled loops that several packages use; each imports numba, which takes most of a second."""
