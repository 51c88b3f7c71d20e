"""The offline protocol: leave one out, trials in processes, tuning, tables."""
