"""How near the fitted taste comes to the true one on the built-in world, with and without unshown items; satiation.

python benchmarks/appeal.py
"""

import numpy as np
from scipy.stats import spearmanr

from policies.draws import generator
from simulator.appeal import AppealSettings, fit_appeal
from simulator.fit import fit_users
from simulator.world import load_world


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()


def main() -> None:
    data, true = load_world(0)
    taste = centred(true.user_taste @ true.item_taste[1:].T).ravel()[::7]
    for unshown in (0.0, 1.0, 2.0):
        fitted = fit_appeal(data, true.examination, generator(1), AppealSettings(unshown=unshown))
        found = centred(fitted.user_taste @ fitted.item_taste[1:].T).ravel()[::7]
        print(
            f"{unshown:g} unshown items per click: Spearman correlation of taste {spearmanr(taste, found)[0]:.2f}, "
            f"user level sd {fitted.user_level.std():.2f} (true {true.user_level.std():.2f})"
        )
    users = fit_users(data, 0, 6, lambda text: None)
    print(f"satiation per exposure: estimated {users['satiation']:.3f}, true {true['satiation']:.3f}")


if __name__ == "__main__":
    main()
