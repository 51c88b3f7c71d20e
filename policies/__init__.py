"""What a policy is, the logs it learns from, and the baselines."""

from policies.base import PAD, Policy, Requests, Slates
from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.draws import Draws
from policies.log import Dataset, Impressions

__all__ = [
    "PAD",
    "Catalogue",
    "Dataset",
    "Draws",
    "Impressions",
    "InputError",
    "Policy",
    "Requests",
    "Slates",
]
