"""The contract between the engine and users that somebody else makes. A stranger's users need this
module alone, and `simulator.users.state` for `Feedback`.

    class MyUsers:
        n_users, n_items = 1000, 500

        def first_visit(self, users, start, draws): ...
        def start(self, users, now): ...
        def respond(self, state, users, items, pages, now, draws): ...
        def next_visit(self, state, users, since, draws): ...

Letters: B users in a batch, K slate size, N items. Item ids are 1..N, 0 is padding. Users are
numbers 0..n_users - 1; where a run has more people than that, several are like one of them. Time is
in seconds, 0 is the start of the test.

One row in, one row out: what a user does may depend on its own row of every argument and on its own
row of `draws`, and on nothing else: not on who else is in the batch, nor on the order of calls.
Then a log does not depend on how a run was cut into pieces, and twin worlds share their chance.
`simulator.users.testing.check_user_model` tests it; `simulator.users.memo.memo` keeps the answers
of users who cannot promise it, a language model, say.

Optional, each with what is lost without it:

* `click_probability(state, users, now)` -> (B, N + 1) chance of a click on every item shown alone,
  0 for padding: the oracle, which wants to know it.
* `Feedback.of(..., probability=...)` (B, K): the truth in `RUN/truth`, and smooth figures in
  `simulator.validate`, which otherwise counts clicks.
* `level`: a number that is added to the logit of every click, and may be set: else uniformly
  random slates click as they like, and `--calibrate` does nothing.
* `fit(log, catalogue, rng)` as a policy has it, and `state()` and `restore(arrays)`: who learns
  from the log. Users without them are made anew by every process.
* `provenance()` -> rows of (name, value, standard error or None, "estimated" or "assumed",
  source): else nobody knows where the users come from, and the report says so in amber.
* `tells`: of "watch", "long_view", "likes", "hates" those that the answers hold: the metrics of the
  others are left out.
"""

from typing import Protocol

import numpy as np

from policies.draws import Draws
from simulator.users.state import Feedback

Arrays = dict[str, np.ndarray]


class UserModel(Protocol):
    """Users by somebody else. `state` holds one row for each user of the call, which `respond` and
    `next_visit` change in place.
    """

    n_users: int
    n_items: int

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray:
        """(B,) s, when each comes first, not before `start`."""
        ...

    def start(self, users: np.ndarray, now: float) -> Arrays:
        """What each of them has in mind before the first visit: arrays of B rows by name."""
        ...

    def respond(
        self,
        state: Arrays,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback:
        """Answers to the slates `items` (B, K) on page number `pages` (B,) of a visit."""
        ...

    def next_visit(
        self, state: Arrays, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray:
        """(B,) s, after `since` (B,), the end of a visit; inf: never."""
        ...
