"""One experiment, top to bottom: data, population, training, worlds, run folder."""
