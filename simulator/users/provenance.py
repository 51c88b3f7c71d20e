"""Every parameter of fitted users with where it comes from."""

from dataclasses import replace

import numpy as np

from policies.draws import generator
from simulator.users.choice_model import ChoiceModel


def provenance(model: ChoiceModel) -> list[tuple[str, str, str, str, str]]:
    """Rows of name, value, standard error, status and source; arrays by their spread.

    The spread of the taste is that of what it adds to the logit, over random pairs of users and
    items.
    """
    rows: list[tuple[str, str, str, str, str]] = [
        (name, f"{n.value:.4g}", "" if n.error is None else f"{n.error:.2g}", n.status, n.source)
        for name, n in sorted(model.parameters.items())
    ]
    rng = generator("provenance")
    user, item = rng.integers(0, model.n_users, 20_000), rng.integers(1, model.n_items + 1, 20_000)
    own = replace(
        model,
        item_level=np.zeros_like(model.item_level),
        user_level=np.zeros_like(model.user_level),
    )
    spread = {
        "taste": own.appeal(user, item[:, None]).std(),
        "item_level": model.item_level[1:].std(),
    }
    for name, (status, source) in sorted(model.provenance.items()):
        sd = spread[name] if name in spread else getattr(model, name).std()
        rows.append((name, f"sd {sd:.3g}", "", status, source))
    return rows
