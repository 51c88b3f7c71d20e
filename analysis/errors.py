"""What the analysis refuses to do, in one line each."""

from policies.common.errors import InputError


class AnalysisError(InputError):
    """A table or a run that cannot be judged: what was given, what was wanted, what to do."""
