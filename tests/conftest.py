"""A small log that every test can afford, and real logs where they are there."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from policies.log import Dataset
from simulator import Experiment
from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.chains.crossed_effects import Chains
from simulator.experiment.data import load_data
from simulator.fitting.fit_users import fit_users
from simulator.users.choice_model import ChoiceModel
from simulator.users.storage import about_users, save_users
from tests.live_logs import log

SMALL = BuiltInParameters(users=240, items=120, categories=8, log_days=6.0)
TINY_MODELS: dict[str, dict[str, Any]] = {
    "sasrec": {"width": 16, "epochs": 1, "update_epochs": 1, "length": 20, "room": 18},
    "gptrec": {
        "width": 16,
        "epochs": 1,
        "prompt_epochs": 1,
        "update_epochs": 1,
        "length": 20,
        "window": 40,
        "room": 18,
    },
}


CALIBRATE = "random_click_rate=.176"
REFIT = {
    *("log", "slate_size", "user_model", "users_from", "calibrate", "policy_share", "draws"),
    "fit_users",
}
SHORT = Chains(draws=12, thin=3)  # what most tests fit users with on the way to something else


SHORT_FLAGS = ["--draws", "12", "--thin", "3", "--threads", "1"]  # the same for commands
SHORT_RUN = [
    *[
        "--policies",
        "popularity,itemknn",
        "--users",
        "60",
        "--days",
        "1",
        "--warmup-days",
        "0.5",
        "--rounds",
        "1",
    ],
    *["--set", "repeat_after=10", "--quiet"],
    *SHORT_FLAGS,
]


class MakeExperiment(Protocol):
    """Makes small experiments: `experiment(policies=("sasrec",), days=2)`."""

    def __call__(self, **settings: Any) -> Experiment: ...


@pytest.fixture(scope="session", autouse=True)
def _quick() -> Iterator[None]:
    """One thread; small figures without a search for the best layout, each drawn once per
    test and copied from then on: most tests write a report on the way to something else.
    """
    torch.set_num_threads(1)
    os.environ["GPTREC_WORKERS"] = "1"  # but where a test asks for more
    gc.freeze()  # what the libraries brought stays; looking through it again and again takes time
    plain, drawn = Figure.savefig, dict[tuple[str, str], bytes]()

    def savefig(figure: Figure, path: Any, **options: Any) -> None:
        if not isinstance(path, str | Path):
            plain(figure, path, dpi=40)
            return
        where = Path(path)
        key = os.environ.get("PYTEST_CURRENT_TEST", ""), where.name
        if key not in drawn:
            figure.set_layout_engine(None)
            plain(figure, where, dpi=40)
            drawn[key] = where.read_bytes()
        where.write_bytes(drawn[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Networks that a test makes itself start alike in every run, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small_world() -> tuple[Dataset, ChoiceModel]:
    """The log of a small built-in world and the truth behind it."""
    return built_in_log(0, SMALL)


@pytest.fixture(scope="session")
def small_log(
    small_world: tuple[Dataset, ChoiceModel], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same log as a Parquet file with string ids."""
    data, _ = small_world
    log, catalogue = data.log, data.catalogue
    frame = pd.DataFrame(
        {
            "user": data.user_ids[log.user],
            "item": catalogue.ids[log.item],
            "time": 1_700_000_000.0 + log.time,
            "click": log.clicked.astype(int),
            "page": log.page,
            "slot": log.slot,
            "session": log.user.astype(np.int64) * 10_000 + log.session,
            "watch": log.watched,
            "long_view": log.long_view.astype(int),
            "like": log.liked.astype(int),
            "category": np.array(catalogue.categories)[catalogue.category[log.item]],
            "duration": catalogue.duration[log.item],
        }
    )
    path = tmp_path_factory.mktemp("log") / "small.parquet"
    frame.to_parquet(path)
    return path


@pytest.fixture(scope="session")
def small_users(small_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users fitted to that log, for tests in which it does not matter who they are."""
    data = load_data(Experiment(log=str(small_log), calibrate=CALIBRATE, repeat_after=20))
    out = tmp_path_factory.mktemp("users")
    save_users(out, fit_users(data, chains=SHORT), about_users(data, 6))
    return out


@pytest.fixture(scope="session")
def experiment(small_log: Path, small_users: Path) -> MakeExperiment:
    """Of the small log and its users; those are fitted again where a setting asks for others."""

    def make(**settings: Any) -> Experiment:
        fitted = REFIT.isdisjoint(settings)
        base: dict[str, Any] = {
            "policies": ("sasrec", "popularity"),
            "log": str(small_log),
            "users_from": str(small_users) if fitted else None,
            "users": 120,
            "days": 2.0,
            "warmup_days": 1.0,
            "rounds": 2,
            "repeat_after": 20,
            "policy_settings": {},
            "truth": False,
            "threads": 1,
            "draws": SHORT.draws,
            "thin": SHORT.thin,
            "calibrate": None if fitted else CALIBRATE,
        }
        base |= settings
        arms = {arm.split(".")[0] for arm in base["policies"]}
        models = {arm: dict(TINY_MODELS[arm]) for arm in arms if arm in TINY_MODELS}
        for arm, extra in base["policy_settings"].items():
            models.setdefault(arm, {}).update(extra)
        base["policy_settings"] = models
        return Experiment(**base)

    return make


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """A log of a live test as a file."""
    log().to_csv(tmp_path / "log.csv", index=False)
    return tmp_path / "log.csv"


def shared_data(name: str) -> Path:
    """The folder of a real log, or the test is skipped. GPTREC_DATA says where the logs are."""
    root = Path(
        os.environ.get("GPTREC_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
    )
    if not (root / name).is_dir():
        pytest.skip(f"no {name} in {root}; set GPTREC_DATA to the folder that holds it")
    return root / name
