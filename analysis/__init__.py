"""Judging an A/B test from its table of impressions; knows nothing of the simulator."""
