"""What the analysis refuses to do, in one line each."""


class AnalysisError(ValueError):
    """A table or a run that cannot be judged. Says what was given, what was wanted and what to do."""
