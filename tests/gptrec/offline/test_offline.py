"""The offline protocol: the split, the exclusion, the metrics, and trials that can be killed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptrec import evaluate
from gptrec.offline import trials, tuning
from gptrec.offline.bootstrap import over_seeds, two_way_bootstrap
from gptrec.offline.leave_one_out import metrics, ranks, read
from gptrec.offline.trials import Task
from policies.baselines.popularity import Popularity
from policies.common.errors import InputError
from policies.common.files import load_arrays, save_arrays
from policies.draws import generator
from policies.neural.next_items import best, gains
from policies.neural.training import Trainer
from policies.registry import make

NETWORKS = ("gru4rec", "bert4rec", "sasrec", "gptrec")
SMALL = {"width": 16, "length": 10, "batch_tokens": 256, "sampled": 20, "layers": 1}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who walk along a ring of 40 items, some clicks at random."""
    rng = np.random.default_rng(0)
    text = []
    for user in range(80):
        step = np.cumsum(
            np.where(rng.random(int(rng.integers(3, 25))) < 0.8, 1, rng.integers(1, 40))
        )
        text.append(" ".join([f"u{user}", *(f"i{(i + user) % 40}" for i in step)]))
    path = tmp_path_factory.mktemp("data") / "ring.txt"
    path.write_text("\n".join(text) + "\n")
    return path


def test_the_last_two_clicks_are_targets_and_nothing_else_is_lost(lines: Path) -> None:
    split = read(str(lines))
    raw = [line.split() for line in lines.read_text().splitlines()]
    assert split.n_users == 80
    assert len(split.train.items) == sum(len(line) - 1 for line in raw) - 2 * 80
    names: dict[str, Any] = {}
    for row, words in enumerate(raw):
        here = split.train.items[split.train.starts[row] : split.train.starts[row + 1]]
        got = [*here, split.valid[row], split.test[row]]
        for word, item in zip(words[1:], got, strict=True):
            assert names.setdefault(word, item) == item  # one id per item
    with_valid, without = split.history(True), split.history(False)
    for row in range(80):
        full = with_valid.items[with_valid.starts[row] : with_valid.starts[row + 1]]
        assert full[-1] == split.valid[row]
        assert np.array_equal(
            full[:-1], without.items[without.starts[row] : without.starts[row + 1]]
        )


def test_history_is_excluded_and_a_repeated_target_is_a_miss(lines: Path) -> None:
    split = read(str(lines))
    policy = Popularity()
    policy.fit(*split.log(), generator("x"))
    history = split.history(True)
    slates = best(policy, split.n_items, split.users, history, 20)
    in_history = np.zeros(80, bool)
    for row in range(80):
        seen = history.items[history.starts[row] : history.starts[row + 1]]
        assert not np.isin(slates[row], seen).any()
        in_history[row] = split.test[row] in seen
    assert in_history.sum() == split.repeated()
    assert (ranks(policy, split, "test")[in_history] == 0).all()


def test_metrics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    scores = rng.random((200, 50))
    targets = rng.integers(0, 50, 200)
    order = np.argsort(-scores, axis=1)[:, :20]
    hit = order == targets[:, None]
    rank = np.where(hit.any(1), hit.argmax(1) + 1, 0)
    truth = np.eye(50)[targets]
    found = metrics(rank)
    for k in (5, 10, 20):
        assert found[f"ndcg@{k}"] == pytest.approx(ndcg_score(truth, scores, k=k), rel=1e-12)
        assert found[f"hr@{k}"] == pytest.approx(hit[:, :k].any(1).mean())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_equals_its_users_one_by_one_and_padding_changes_nothing(
    name: str, lines: Path
) -> None:
    split = read(str(lines))
    policy: Any = make(name, {**SMALL, "epochs": 1})
    policy.begin(split.train, split.n_items, split.n_users, generator("x"))
    history = split.history(True)
    together = best(policy, split.n_items, split.users, history, 20)
    for row in range(0, 80, 7):
        here = slice(row, row + 1)
        items = history.items[history.starts[row] : history.starts[row + 1]][-policy.length :]
        for padding in (0, 5):
            context = np.concatenate([np.zeros(padding, np.int32), items])[None]
            alone = policy.top(split.users[here], context, 30)[0]
            allowed = alone[
                ~np.isin(alone, history.items[history.starts[row] : history.starts[row + 1]])
            ]
            n = min(20, len(allowed), (together[row] > 0).sum())
            assert len(set(together[row][:n]) ^ set(allowed[:n])) <= 2 * (name == "gptrec")


@pytest.mark.parametrize("name", NETWORKS)
def test_killed_at_a_random_moment_and_resumed_gives_the_same_weights(
    name: str, lines: Path
) -> None:
    split = read(str(lines))
    settings = {**SMALL, **({"prompt_budget": 0.5} if name == "gptrec" else {})}

    def trainer_of() -> tuple[Trainer, object]:
        policy, make_trainer = trials.begun(Task(name, name, 3, settings), split)
        score = lambda: float(gains(ranks(policy, split, "valid", k=10), 10).mean())  # noqa: E731
        n = len(policy.stages(split.train))
        return make_trainer(score, steps=[12] * n, evaluations=4), policy

    whole, _ = trainer_of()
    whole.run()
    for stop in np.random.default_rng(sum(map(ord, name))).integers(1, 12 * len(whole.stages), 3):
        first, _ = trainer_of()
        for _ in range(stop):
            if not first.done:
                first.advance()
        second, _ = trainer_of()
        second.restore({key: value.copy() for key, value in first.state().items()})
        second.run()
        assert second.scores == whole.scores
        for a, b in zip(
            whole.net.state_dict().values(), second.net.state_dict().values(), strict=True
        ):
            assert (a == b).all(), f"stopped after {stop} steps"


def test_a_trial_goes_on_from_its_checkpoint_and_is_not_run_twice(
    lines: Path, tmp_path: Path
) -> None:
    split = read(str(lines))
    task = Task("sasrec", "sasrec", 0, SMALL, (25,))
    shown: list[float] = []
    found = trials.run(task, split, tmp_path, lambda label, done, score: shown.append(done))
    assert shown[-1] == 1.0
    assert trials.run(task, split, tmp_path, lambda *_: pytest.fail("run twice")) == json.loads(
        json.dumps(found)
    )
    other = Task("sasrec", "sasrec", 0, {**SMALL, "dropout": 0.5}, (25,))
    with pytest.raises(InputError, match="of other settings"):
        trials.run(other, split, tmp_path, lambda *_: None)


@pytest.mark.parametrize("name", ["sasrec", "gptrec"])
def test_a_trial_killed_between_checkpoints_ends_as_if_it_had_not_been(
    name: str, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = read(str(lines))
    task = Task(name, name, 0, SMALL, (43, 30) if name == "gptrec" else (73,))
    whole = trials.run(task, split, tmp_path / "whole", lambda *_: None)
    monkeypatch.setattr(trials, "SAVE_EVERY", 0.0)
    calls: list[float] = []

    def killed(label: str, done: float, score: float) -> None:
        if done > 0.5:
            raise KeyboardInterrupt
        calls.append(done)

    with pytest.raises(KeyboardInterrupt):
        trials.run(task, split, tmp_path / "killed", killed)
    calls.clear()
    again = trials.run(
        task, split, tmp_path / "killed", lambda label, done, score: calls.append(done)
    )
    assert min(calls) > 0.5  # it went on and did not begin anew
    assert [score for _, score in again["curve"]] == [score for _, score in whole["curve"]]
    assert again["test"] == whole["test"]
    files = [
        tmp_path / folder / "checkpoints" / f"{name}.seed0.safetensors"
        for folder in ("whole", "killed")
    ]
    a, b = (load_arrays(file) for file in files)
    assert all(
        np.array_equal(a[key], b[key])
        for key in a
        if key.startswith(("net.", "best.", "optimiser."))
    )


def test_damaged_and_foreign_checkpoints_are_refused_in_one_line(
    lines: Path, tmp_path: Path
) -> None:
    split = read(str(lines))
    task = Task("sasrec", "sasrec", 0, SMALL, (5,))
    trials.run(task, split, tmp_path, lambda *_: None)
    record, file = (
        tmp_path / "trials" / "sasrec.seed0.json",
        tmp_path / "checkpoints" / "sasrec.seed0.safetensors",
    )
    record.unlink()
    arrays = load_arrays(file)
    for about, message in (
        ({"format": "0"}, f"has format 0, wanted {trials.FORMAT}"),
        ({"format": trials.FORMAT, "model": "sasrec", "items": "99"}, "has items 99, wanted 40"),
    ):
        save_arrays(file, arrays, about)
        with pytest.raises(InputError, match=message):
            trials.run(task, split, tmp_path, lambda *_: None)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        trials.run(task, split, tmp_path, lambda *_: None)


def test_two_way_bootstrap_covers_and_tells_the_parts_apart() -> None:
    rng = np.random.default_rng(0)
    worlds = 200
    for seeds in (2, 5):
        covered = 0
        for _ in range(worlds):
            base = rng.random(100)
            effects = rng.normal(0, 0.05, (2, seeds))
            a, b = (base + effect[:, None] + rng.normal(0, 0.2, (seeds, 100)) for effect in effects)
            found = two_way_bootstrap(a + 0.03, b, rng, resamples=400)
            covered += found.low <= 0.03 <= found.high
        # 99.9 % binomial band of .95; with two seeds Student's tail on a resampled mean is
        # conservative.
        assert (0.90 if seeds == 5 else 0.88) <= covered / worlds <= 0.99 + 0.01 * (seeds == 2), (
            seeds
        )
    paired = two_way_bootstrap(np.array([[0.1] * 50, [0.2] * 50]), None, rng, resamples=300)
    assert (paired.mean, paired.n_seeds) == (pytest.approx(0.15), (2, 2))
    assert paired.sd_seeds == pytest.approx(0.05, rel=0.2)
    noiseless = two_way_bootstrap(
        np.tile(rng.random(300), (4, 1)), np.zeros((3, 300)), rng, resamples=300
    )
    assert noiseless.sd_seeds == pytest.approx(0)
    assert noiseless.sd_users == pytest.approx(np.sqrt(1 / 12 / 300), rel=0.2)
    levels = np.array([0.0, 0.1, 0.2, 0.3])[:, None] + np.zeros((4, 300))
    uneven = two_way_bootstrap(levels, np.zeros((4, 300)), rng, resamples=4000)
    assert uneven.sd_users == pytest.approx(0, abs=1e-9)
    assert uneven.sd_seeds == pytest.approx(np.std([0, 0.1, 0.2, 0.3], ddof=1) / 2, rel=0.1)


def test_interval_over_seeds_is_students() -> None:
    mean, low, high = over_seeds(np.array([1.0, 2.0, 3.0]))
    assert (mean, round(low, 3), round(high, 3)) == (2.0, -0.484, 4.484)


def test_the_command_evaluates_resumes_and_tunes(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [part for k, v in SMALL.items() for part in ("--set", f"gptrec.{k}={v}")]
    words = [
        "--data",
        str(lines),
        "--models",
        "itemknn,gptrec",
        "--seeds",
        "1",
        "--steps",
        "8",
        "--out",
        "ev",
        *small,
    ]
    assert evaluate.main([*words, "--ablate", "prompts", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "gptrec - prompts minus gptrec" in out
    found = json.loads(Path("ev/results.json").read_text())
    assert found["models"]["gptrec"]["seeds"] == found["models"]["itemknn"]["seeds"] == 1
    assert len(list(Path("ev/trials").glob("itemknn*.json"))) == 1  # no chance in it: run once
    assert Path("ev/quality.png").stat().st_size > 5000
    assert "history excluded" in Path("ev/results.md").read_text()
    Path("ev/trials/gptrec.seed0.json").unlink()
    json.loads(Path("ev/results.json").read_text(), parse_constant=lambda _: pytest.fail("no JSON"))
    assert evaluate.main(["--resume", "ev"]) == 0
    assert (
        json.loads(Path("ev/results.json").read_text())["models"]["gptrec"]["test ndcg@10"]
        == (found["models"]["gptrec"]["test ndcg@10"])
    )
    tune = [
        "tune",
        "--data",
        str(lines),
        "--models",
        "gptrec",
        "--trials",
        "1",
        "--steps",
        "6",
        "--out",
        "tuned",
        *small,
    ]
    assert evaluate.main(tune) == 0
    kept = [json.loads(line) for line in Path("tuned/tuning.jsonl").read_text().splitlines()]
    assert len(kept) == 1
    assert all("test" not in line for line in kept)
    assert json.loads(Path("tuned/best.json").read_text())["gptrec"]


def test_every_network_is_tuned_over_the_same_ranges_as_often() -> None:
    first, second = tuning.choices("sasrec", 12), tuning.choices("gptrec", 12)
    assert len(first) == len(second) == 12
    for a, b in zip(first, second, strict=True):
        assert {key: b.get(key) for key in a} == a


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "sasrec"], "--data is missing"),
        (["--data", "nowhere.txt"], "there is no file"),
        (["--data", "LINES", "--models", "sasrek"], "did you mean 'sasrec'"),
        (["--data", "LINES", "--budget", "soon"], "wanted a time"),
        (["--data", "LINES", "--ablate", "promts"], "did you mean 'prompts'"),
        (["--data", "LINES", "--set", "sasrec.widht=3"], "did you mean 'width'"),
        (["--data", "LINES", "--set", "width=3"], "MODEL.KEY=VALUE"),
        (["--data", "LINES", "--seeds", "0"], "at least 1"),
        (["tune", "--data", "LINES", "--trials", "0"], "at least 1"),
        (["--data", "LINES", "--jobs", "0"], "at least 1"),
        (["--data", "LINES", "--trials", "3"], "means nothing to 'evaluate'"),
        (["tune", "--data", "LINES", "--seeds", "3"], "means nothing to 'tune'"),
        (["tune", "--data", "LINES", "--models", "itemknn"], "none of them is trained in steps"),
        (["--data", "LINES", "--models", "sasrec,sasrec"], "is named twice"),
        (["--data", "LINES", "--models", "sasrec", "--ablate", "user"], "add it to --models"),
        (["--data", "LINES", "--models", "sasrec", "--set", "gptrec.later=2"], "takes no part"),
        (["--data", "LINES", "--set", "sasrec.epochs=2"], "has no effect here"),
        (["--data", "LINES", "--set", "gptrec.placement=evry"], "did you mean 'every'"),
        (["--data", "LINES", "--settings", "list.json"], "object of objects"),
        (["--resume", "there", "--seeds", "3"], "give no others"),
        (["--resume=there"], "is not an evaluation"),
        (["--data", "world:"], "lives in simulator.run"),
        (["--data", "LINES", "--models", "sasrec", "--set", "sasrec.loss=hinge"], "wanted one of"),
        (["--data", "twice.txt"], "on two lines"),
        (["--data", "short.txt"], "at least two such users"),
        (["--resume", "nowhere"], "is not an evaluation"),
        (["--data", "LINES", "--out", "there"], "exists already"),
        (["--data", "LINES", "--settings", "nowhere.json"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str],
    message: str,
    lines: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("twice.txt").write_text("1 2 3 4\n1 5 6 7\n")
    Path("short.txt").write_text("1 2 3\n2 5\n")
    Path("there").mkdir()
    Path("list.json").write_text("[1, 2]")
    assert evaluate.main([str(lines) if word == "LINES" else word for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
