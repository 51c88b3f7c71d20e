"""Users and policies in time: the clock, histories, the recorder, the oracle."""
