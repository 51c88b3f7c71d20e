"""Users that somebody else makes: the contract, what it catches, and runs that hold."""

import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import simulator.validate as validate
from policies.common.errors import InputError
from policies.draws import Draws
from simulator.experiment import units
from simulator.experiment.simulate import simulate
from simulator.users.memo import memo
from simulator.users.state import Feedback, OwnState, arrays_of, state_of
from simulator.users.strangers import UserModelError, made
from simulator.users.testing import check_user_model
from tests.conftest import MakeExperiment

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The class of docs/own_users.md, in a module that can be imported."""
    text = (ROOT / "docs" / "own_users.md").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("own")
    code = re.findall(r"```python\n# (my_users\.py)\n(.*?)```", text, re.S)
    ((name, body),) = code
    (folder / name).write_text(body)
    (folder / "fickle.py").write_text(FICKLE.format(file=str(folder / "answers.sqlite")))
    sys.path.insert(0, str(folder))
    yield __import__("my_users").MyUsers
    sys.path.remove(str(folder))


FICKLE = '''
import numpy as np
from my_users import MyUsers
from simulator.users.memo import memo
from simulator.users.state import Feedback


class Fickle(MyUsers):
    """Users with chance of their own, who never answer twice alike."""

    chance = np.random.default_rng()
    asked = 0

    def respond(self, state, users, items, pages, now, draws):
        Fickle.asked += len(users)
        given = super().respond(state, users, items, pages, now, draws)
        clicked = self.chance.random(items.shape) < given.probability
        return Feedback.of(clicked, self.chance.random(len(users)) < 0.5, given.seconds)

    def next_visit(self, state, users, since, draws):
        return since + 3600 * (2 + 20 * self.chance.random(len(users)))


def users():
    return memo(Fickle(), {file!r})
'''


def test_the_example_is_of_thirty_lines_and_keeps_the_contract(example: Any) -> None:
    text = (ROOT / "docs" / "own_users.md").read_text(encoding="utf-8")
    body = text.split("class MyUsers:")[1].split("```")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30
    check_user_model(example)


def broken(example: Any, **methods: Any) -> Callable[[], Any]:
    return type("Broken", (example,), methods)


def test_what_breaks_the_contract_is_caught_and_says_what_to_mend(example: Any) -> None:
    plain = example.respond

    def by_batch(self: Any, state: Any, users: Any, items: Any, *rest: Any) -> Feedback:
        f = plain(self, state, users, items, *rest)
        return replace(f, clicked=f.clicked & (len(users) > 20), probability=f.probability * np.nan)

    def by_calls(self: Any, state: Any, users: Any, *rest: Any) -> Feedback:
        self.calls = getattr(self, "calls", 0) + 1
        f = plain(self, state, users, *rest)
        return replace(f, seconds=f.seconds + self.calls)

    def global_chance(self: Any, state: Any, users: Any, items: Any, *rest: Any) -> Feedback:
        f = plain(self, state, users, items, *rest)
        return replace(f, clicked=np.random.random(items.shape) < 0.5)  # noqa: NPY002

    def changes_items(self: Any, state: Any, users: Any, items: Any, *rest: Any) -> Feedback:
        items[:] = 1
        return plain(self, state, users, items, *rest)

    def too_sure(self: Any, *given: Any) -> Feedback:
        f = plain(self, *given)
        return replace(f, probability=np.minimum(1.3 * f.probability, 1))

    def own_memory(self: Any, state: Any, users: Any, *rest: Any) -> Feedback:
        seen = self.__dict__.setdefault("seen", {})
        f = plain(self, state, users, *rest)
        for user in users.tolist():
            seen[user] = seen.get(user, 0) + 1
        return replace(f, seconds=f.seconds + np.array([seen[u] for u in users.tolist()]))

    def no_level(self: Any, state: Any, users: Any, items: Any, *rest: Any) -> Feedback:
        level, self.level = self.level, 0.0
        try:
            return plain(self, state, users, items, *rest)
        finally:
            self.level = level

    def in_place_of(self: Any, state: Any, *rest: Any) -> Feedback:
        kept = state["tired"]
        state["tired"] = kept.astype(float)
        return plain(self, state, *rest)

    def by_python(self: Any, state: Any, users: Any, items: Any, *rest: Any) -> Feedback:
        f = plain(self, state, users, items, *rest)
        return replace(f, seconds=f.seconds + random.random())

    def long_by_batch(self: Any, state: Any, users: Any, items: Any, *rest: Any) -> Feedback:
        f = plain(self, state, users, items, *rest)
        return replace(f, long_view=f.clicked & (len(users) > 20))

    def sure_later(
        self: Any, state: Any, users: Any, items: Any, pages: Any, *rest: Any
    ) -> Feedback:
        f = plain(self, state, users, items, pages, *rest)
        later = np.where(pages[:, None] > 0, 1.4, 1.0)
        return replace(f, probability=np.minimum(later * f.probability, 1))

    wrong: dict[str, dict[str, Any]] = {
        "in the whole batch; an answer may depend on its own row alone": {"respond": by_batch},
        "depend on the order of calls": {"respond": by_calls},
        "global random numbers": {"respond": global_chance},
        "read-only": {"respond": changes_items},
        "state the chance with which respond draws": {"respond": too_sure},
        "keep what users remember in the state": {"respond": own_memory},
        "add self.level to the logit": {"respond": no_level},
        "must be a numpy array of numbers, not list": {
            "start": lambda s, u, now: {"tired": [0] * len(u)}
        },
        "a row for each user": {"start": lambda s, u, now: {"tired": np.zeros(3)}},
        "not 1 s after the end of the visit": {"next_visit": lambda s, st, u, since, d: since - 1},
        "gives a time before the start": {"first_visit": lambda s, u, start, d: start - 1 + 0 * u},
        "wanted Feedback.of": {"respond": lambda s, *given: None},
        "give state() and restore() all that fit learned": {"restore": lambda s, state: None},
        "it has no method 'next_visit'": {"next_visit": None},
        "tells holds watched": {"tells": ("watched",)},
        "n_items is 7, and the log has 40": {"n_items": property(lambda s: 7, lambda s, x: None)},
        "(or changes torch's threads), so that answers": {"respond": by_python},
        "fractions would be lost": {
            "start": lambda s, u, now: {"tired": np.zeros(len(u), int)},
            "respond": in_place_of,
        },
        "nobody ever comes": {"first_visit": lambda s, u, start, d: np.full(len(u), np.inf)},
        "gives another long_view than in the whole batch": {"respond": long_by_batch},
        "probability of slot 0 on page 1": {"respond": sure_later},
        "failed in respond: ZeroDivisionError": {"respond": lambda s, *given: 1 / 0},
    }
    for words, methods in wrong.items():
        with pytest.raises(UserModelError, match=re.escape(words)):
            check_user_model(broken(example, **methods), n_draws=4000)


def test_a_truth_that_is_not_what_is_clicked_is_caught(example: Any) -> None:
    def truth(by: float) -> Callable[..., np.ndarray]:
        def click_probability(self: Any, state: Any, users: Any, now: Any) -> np.ndarray:
            logit = self.level + by + self.items[None, :] - state["tired"][:, None]
            chance = 1 / (1 + np.exp(-logit))
            chance[:, 0] = 0
            return chance

        return click_probability

    check_user_model(broken(example, click_probability=truth(0.0)))
    with pytest.raises(UserModelError, match="click_probability of item 1 is stated as"):
        check_user_model(broken(example, click_probability=truth(0.5)))


def test_states_of_strangers_go_through_files(small_world: Any) -> None:
    own = OwnState({"chosen": np.arange(3), "mood": np.zeros((3, 2))})
    back = state_of(arrays_of(own))
    assert isinstance(back, OwnState)
    assert back.arrays.keys() == own.arrays.keys()
    state = small_world[1].start(5, 0.0)
    assert type(state_of(arrays_of(state))) is type(state)


def test_what_cannot_be_made_is_one_line(example: Any) -> None:
    for name, words in (
        ("my_users:MyUser", "did you mean 'MyUsers'"),
        ("no_such_module:X", "cannot import 'no_such_module'"),
        ("my_users:np", "has no class or function 'np'"),
    ):
        with pytest.raises(InputError, match=words):
            made(name)


def logs(run: Path) -> pd.DataFrame:
    files = sorted((run / "impressions").rglob("*.parquet"))
    rows = pd.concat([pd.read_parquet(file) for file in files])
    names = ["time", "user", "page", "slot"]
    return rows.sort_values(["bucket", *names] if "bucket" in rows else names, ignore_index=True)


def interrupted(experiment: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed in its third segment and gone on with."""
    whole, calls = units.World.run, [0]

    def dies(self: Any, *given: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        whole(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(units.World, "run", dies)
        with pytest.raises(KeyboardInterrupt):
            simulate(experiment, out=str(run))
    simulate(resume=str(run))


@pytest.mark.parametrize("kind", ["my_users:MyUsers", "fickle:users"])
def test_twin_worlds_and_interrupted_runs_hold_bit_for_bit(
    kind: str,
    example: Any,
    experiment: MakeExperiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    e = experiment(
        policies=("popularity", "popularity.2"),
        design="twin",
        user_model=kind,
        users_from=None,
        users=60,
        days=1.0,
        rounds=2,
    )
    interrupted(e, tmp_path / "stopped", monkeypatch)
    result = simulate(e, out=str(tmp_path / "plain"))
    one, other = logs(tmp_path / "plain"), logs(tmp_path / "stopped")
    pd.testing.assert_frame_equal(one, other)
    # the same policy in twin worlds meets the same answers
    clicks = [result.impressions(arm)["clicked"].to_numpy() for arm in e.policies]
    np.testing.assert_array_equal(*clicks)
    assert clicks[0].any()
    assert not clicks[0].all()
    assert result.results["users"]["user_model"] == kind
    assert any("The users are those of" in note for note in result.report.manifest["notes"])
    # what the answers do not hold is not judged
    assert set(result.true_effects["metric"]).isdisjoint({"likes", "watch_time"})


def test_a_memo_asks_nothing_twice(example: Any, tmp_path: Path) -> None:
    fickle = __import__("fickle").Fickle
    model = fickle()
    model.n_users, model.n_items, model.items = 60, 40, np.zeros(41)
    check_user_model(lambda: memo(fickle(), tmp_path / "kept.sqlite"), n_draws=500)
    asked = fickle.asked
    check_user_model(lambda: memo(fickle(), tmp_path / "kept.sqlite"), n_draws=500)
    assert fickle.asked == asked
    with pytest.raises(UserModelError, match="order of calls"):
        check_user_model(fickle, n_draws=500)


def test_strangers_are_held_against_the_log(
    example: Any, small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--log", str(small_log), "--user-model", "my_users:MyUsers", "--held-out-days", "2"]
    words += ["--learners", "none", "--out", str(tmp_path / "f"), "--quiet"]
    assert validate.main(words) == 0
    page = (tmp_path / "f" / "fidelity.html").read_text()
    assert "my_users:MyUsers" in page
    assert "click: whose and of what" in page
    assert "Do not trust" in capsys.readouterr().out


def test_what_strangers_cannot_do_is_refused(example: Any, experiment: MakeExperiment) -> None:
    plain: dict[str, Any] = {
        "user_model": "my_users:MyUsers",
        "users_from": None,
        "calibrate": None,
    }
    with pytest.raises(InputError, match="is for users that are fitted"):
        experiment(**plain, taste_dynamics="none")
    with pytest.raises(InputError, match="did you mean 'neighbours'"):
        experiment(user_model="neighbour")
    with pytest.raises(InputError, match="new_items is for users that are fitted"):
        experiment(**plain, new_items=0.1)
    with pytest.raises(InputError, match="state no click_probability"):
        simulate(experiment(**plain, policies=("popularity", "oracle")))


def test_a_memo_knows_whose_answers_it_keeps(example: Any, tmp_path: Path) -> None:
    def asked(model: Any) -> np.ndarray:
        kept = memo(model, tmp_path / "both.sqlite")
        users, items = np.arange(50), np.tile(np.arange(1, 7), (50, 1))
        draws = Draws(3, users, users * 0, 0)
        given = kept.respond(kept.start(users, 0.0), users, items, users * 0, np.zeros(50), draws)
        return given.probability

    models = [example() for _ in range(3)]
    for model, level in zip(models, (-2.0, 0.0, -2.0), strict=True):
        model.n_users, model.n_items, model.items = 50, 40, np.full(41, level)
    one, other, again = (asked(model) for model in models)
    assert one.max() < 0.2 < 0.4 < other.min()  # another that has learned otherwise
    np.testing.assert_array_equal(one, again)
    models[0].level = 2.0
    assert asked(models[0]).min() > 0.4
    assert (asked(type("Other", (example,), vars(models[2]))()) == one).all()


def test_users_who_state_nothing_are_not_judged_by_a_few_answers(
    example: Any, small_log: Path, tmp_path: Path
) -> None:
    words = ["--log", str(small_log), "--user-model", "fickle:users", "--held-out-days", "2"]
    words += ["--learners", "none", "--out", str(tmp_path / "f"), "--quiet"]
    assert validate.main(words) == 0
    text = (tmp_path / "f" / "fidelity.md").read_text()
    assert "| click: whose and of what | none | the users state no probability of it" in text
    assert "| click by predicted probability | none |" in text
    assert "| click rate | none" not in text
