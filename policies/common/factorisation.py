"""What is used of the library `implicit`, imported without its advice to install widgets for
notebooks: nothing here shows its bars.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="IProgress not found")
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking

__all__ = ["AlternatingLeastSquares", "BayesianPersonalizedRanking"]
