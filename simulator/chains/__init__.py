"""Draws of levels and slopes by Markov chains, and how well they mixed."""
