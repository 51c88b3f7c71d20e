"""Who takes part: whom users are fitted to, the population, newcomers; and what moves taste."""
