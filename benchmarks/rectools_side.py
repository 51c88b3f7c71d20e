"""RecTools' half of `benchmarks/beside_rectools.py`; runs in an environment of its own and imports
nothing of this project.
"""

import json
import sys
import time
import warnings

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")


def main() -> None:
    path, epochs = sys.argv[1], int(sys.argv[2])
    rows, targets = [], {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            user, *items = line.split()
            rows += [(user, item, 1.0, i) for i, item in enumerate(items[:-2])]
            targets[user] = items[-1]
    frame = pd.DataFrame(
        rows, columns=[Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    )
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    dataset = Dataset.construct(frame)
    model = SASRecModel(
        n_factors=64,
        n_blocks=2,
        n_heads=2,
        session_max_len=50,
        loss="softmax",
        batch_size=128,
        epochs=epochs,
        verbose=0,
        dropout_rate=0.2,
        recommend_batch_size=64,
    )
    began = time.perf_counter()
    model.fit(dataset)
    train = time.perf_counter() - began
    users = list(targets)
    began = time.perf_counter()
    found = model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True)
    ranked = time.perf_counter() - began
    hit = found[found[Columns.Item] == found[Columns.User].map(targets)]
    import numpy as np

    ndcg = float((1 / np.log2(hit[Columns.Rank] + 1)).sum() / len(users))
    print(
        json.dumps(
            {
                "sequences_per_second": epochs * len(users) / train,
                "users_per_second": len(users) / ranked,
                "epochs": epochs,
                "train_seconds": train,
                "test_ndcg@10": ndcg,
            }
        )
    )


if __name__ == "__main__":
    main()
