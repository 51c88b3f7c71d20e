"""What a validation is to look at, and how."""

from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.chains.crossed_effects import Chains
from simulator.users.strangers import is_stranger

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """Settings of a validation.

    Attributes:
        days: calendar days at the end that are held out, of a log with skips. slate_size: that
            users are fitted for. kind: of user model. chains: of the sampler, with the seed of
            everything. learners: policies that learn from real and from simulated answers; () =
            none. seeds: trainings of each. threads: of torch.
    """

    days: int
    slate_size: int
    kind: str = "factors"
    chains: Chains = field(default_factory=Chains)
    learners: tuple[str, ...] = ()
    seeds: int = 1
    threads: int = 1

    @property
    def seed(self) -> int:
        return self.chains.seed

    @property
    def stranger(self) -> bool:
        """Whether the users are somebody else's."""
        return is_stranger(self.kind)
