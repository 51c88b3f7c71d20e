"""A person in the place of a user: what is typed, what is shown, and that it is what the engine
would show.
"""

import json
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policies.base import Policy
from policies.common.errors import InputError
from policies.draws import Draws, generator
from policies.log import Dataset
from policies.registry import make
from simulator import Experiment, chat, simulate
from simulator.engine.histories import Histories
from simulator.engine.recorder import Recorder
from simulator.engine.world import Arm, World
from simulator.talking.browser import Talk, server_of
from simulator.talking.conversation import Stage, conversation_of, last_model, open_stage
from simulator.talking.words import Names, titles_of, understood
from simulator.users.choice_model import ChoiceModel
from simulator.users.state import Feedback, OwnState
from tests.conftest import MakeExperiment

SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "length": 12, "epochs": 1}
PAGES = 7


class Script:
    """A user who clicks every third item, and stays for so many pages."""

    n_users = 10_000

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray:
        return np.full(len(users), 600.0)

    def start(self, n_users: int, now: float) -> OwnState:
        return OwnState({})

    def respond(
        self,
        state: OwnState,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback:
        return Feedback.of(items % 3 == 0, pages + 1 < PAGES, np.full(len(users), 30.0))

    def next_visit(
        self, state: OwnState, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray:
        return np.full(len(users), np.inf)

    def click_probability(self, state: OwnState, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def by_the_engine(
    e: Experiment, policy: Policy, data: Dataset, user: int, history: bool, folder: Path
) -> np.ndarray:
    """(PAGES, K) what the engine shows this user."""
    length, ids = int(policy.history_length), np.array([user], np.int32)
    lengths = (length, 0) if policy.history_of == "impressions" else (0, length)
    histories = Histories.of(1, *lengths, e.repeat_after)
    if history:
        place = np.full(max(user, int(data.log.user.max())) + 1, -1)
        place[user] = 0
        histories.load(data.log, place)
    script: Any = Script()
    world = World(
        name="test",
        experiment=e,
        model=script,
        catalogue=data.catalogue,
        ids=ids,
        bucket=np.zeros(1, np.int16),
        arms=[Arm("arm", 0, policy)],
        state=script.start(1, 0.0),
        histories=histories,
        due=script.first_visit(ids, 0.0, None),
        sessions=np.zeros(1, np.int32),
        sink=(recorder := Recorder(folder)),
    )
    world.run(0.0, 86_400.0)
    rows = recorder.rows({"arm": 0}, -np.inf, np.inf)
    return rows.item.reshape(PAGES, -1)


@pytest.mark.parametrize(
    ("name", "settings", "history"),
    [
        ("gptrec", SMALL, False),
        ("gptrec", {**SMALL, "epsilon": 0.4}, True),
        ("sasrec", SMALL, True),
        ("thompson", {}, True),
    ],
)
def test_a_typed_dialogue_is_shown_what_the_engine_shows(
    small_world: tuple[Dataset, ChoiceModel],
    tmp_path: Path,
    name: str,
    settings: dict[str, Any],
    history: bool,
) -> None:
    data, _ = small_world
    e = Experiment(policies=(name,), users=10, slate_size=4, repeat_after=20, max_pages=20)
    policy = make(name, settings)
    policy.fit(data.log, data.catalogue, generator("fit"))
    user = 5 if history else len(data.user_ids)
    shown = by_the_engine(e, policy, data, user, history, tmp_path)
    log = data.log if history else None
    talk = conversation_of(e, name, policy, data.catalogue, user, log)
    talk.now = 600.0
    for items in shown:
        np.testing.assert_array_equal(talk.slate(), items)
        typed = " ".join(str(slot) for slot in np.flatnonzero(items % 3 == 0) + 1)
        talk.answer(understood(typed, 4).clicked)


@pytest.mark.parametrize(
    ("text", "clicked", "more"),
    [
        ("1 3", [0, 2], None),
        ("", [], None),
        ("skip", [], None),
        ("2, more like 4", [1, 3], 3),
        ("More  like 1", [0], 0),
    ],
)
def test_what_is_typed_is_understood(text: str, clicked: list[int], more: int | None) -> None:
    typed = understood(text, 4)
    assert np.flatnonzero(typed.clicked).tolist() == clicked
    assert typed.more_like == more


@pytest.mark.parametrize("text", ["5", "0", "1.5", "all", "more like 9", "-1", "²"])
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(InputError, match="no item of this page"):
        understood(text, 4)


@pytest.fixture(scope="module")
def run(
    small_log: Path, tmp_path_factory: pytest.TempPathFactory, experiment: MakeExperiment
) -> Path:
    path = tmp_path_factory.mktemp("talk") / "run"
    e = experiment(
        policies=("gptrec", "popularity"),
        users=60,
        log=str(small_log),
        policy_settings={"gptrec": SMALL},
    )
    simulate(e, out=str(path), workers=1)
    return path


@pytest.fixture(scope="module")
def stage(run: Path) -> Stage:
    return open_stage(run)


def test_the_model_is_the_one_that_the_test_left(run: Path, stage: Stage) -> None:
    assert last_model(run, "popularity").parent.name.startswith("split")
    assert stage.arms == ("gptrec", "popularity")
    with pytest.raises(InputError, match="did you mean 'gptrec'"):
        stage.begin("gptrek")
    with pytest.raises(InputError, match="no such user"):
        stage.begin(None, "nobody")
    with pytest.raises(InputError, match="is not a run"):
        open_stage(run / "models")


def test_more_like_this_goes_to_the_nearest_interest(stage: Stage) -> None:
    talk = stage.begin("gptrec")
    assert talk.interests() is not None
    talk.answer(np.zeros(talk.slate_size, bool), more_like=1)
    assert talk.said[-1][1].tolist() == [False, True, *[False] * (talk.slate_size - 2)]
    named = talk.interests()
    assert named is not None
    liked = int(talk.said[-1][0][1])
    policy: Any = talk.policy
    nearest = np.argmax([policy.nearness(items, liked).mean() for items in named])
    np.testing.assert_array_equal(talk.slate(), named[nearest])
    every = np.concatenate(named)
    assert len(set(every)) == len(every)
    plain = stage.begin("popularity")
    assert plain.interests() is None
    plain.answer(np.zeros(plain.slate_size, bool), more_like=0)  # a click, and nothing more
    assert len(plain.slate()) == plain.slate_size


def test_more_like_this_shows_nothing_that_may_not_be_shown(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, _ = small_world
    few = data.log.rows(data.log.item <= 40)
    shelf = data.catalogue.available(0.0)
    shelf[41:] = False
    policy = make("gptrec", SMALL)
    policy.fit(few, data.catalogue, generator("fit"))
    e = Experiment(policies=("gptrec",), users=10, slate_size=6, repeat_after=34)
    withdrawn = np.where(shelf, np.inf, -np.inf)
    catalogue = replace(data.catalogue, withdrawn=withdrawn)
    talk = conversation_of(e, "gptrec", policy, catalogue, 3)
    shown: list[int] = []
    for _ in range(12):
        slate = talk.slate().tolist()
        assert len(set(slate)) == 6
        assert max(slate) <= 40
        assert not set(slate) & set(shown[-34:])
        shown += slate
        talk.answer(np.zeros(6, bool), more_like=0)


def test_a_log_that_changed_is_not_called_by_wrong_names(
    run: Path, small_log: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    frame = pd.read_parquet(small_log)
    frame.iloc[1:].to_parquet(tmp_path / "other.parquet")
    text = manifest.read_text().replace(str(small_log), str(tmp_path / "other.parquet"))
    manifest.write_text(text)
    with pytest.raises(InputError, match="has changed since"):
        open_stage(tmp_path / "run")


def test_somebody_new_is_known_to_nobody(run: Path, stage: Stage) -> None:
    took_part = pd.read_parquet(run / "users.parquet")["user"]
    assert stage.begin().user not in set(took_part)
    assert stage.begin().user >= len(stage.user_ids)


def test_what_it_expects_is_a_probability_before_the_answer(stage: Stage) -> None:
    talk = stage.begin("gptrec", str(stage.user_ids[3]))
    before = talk.expected()
    assert before is not None
    assert ((before > 0) & (before < 1)).all()
    np.testing.assert_array_equal(before, talk.expected())
    assert stage.begin("popularity").expected() is None


def test_the_terminal_asks_again_until_it_understands(
    run: Path,
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    item = str(stage.begin("gptrec").slate()[0])
    name = str(stage.catalogue.ids[int(item)])
    titles = tmp_path / "titles.csv"
    pd.DataFrame({"item": [name], "title": ["A very good video"]}).to_csv(titles, index=False)
    typed = iter(["1 2", "99", "more like 1"])

    def typing(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typing)
    assert chat.main([str(run), "--titles", str(titles)]) == 0
    told = capsys.readouterr().out
    assert "A very good video" in told
    assert "'99' is no item of this page" in told
    assert told.count("page ") >= 3
    assert "expects a click with" in told


def test_wrong_titles_and_runs_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("item,name\na,b\n")
    for words in (
        [str(tmp_path)],
        [str(run), "--titles", str(tmp_path / "bad.csv")],
        [str(run), "--titles", str(tmp_path / "none.csv")],
        [str(run), "--browser", "--port", "70000"],
    ):
        assert chat.main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(InputError, match="lacks the column 'title'"):
        titles_of(tmp_path / "bad.csv")
    (tmp_path / "comma.csv").write_text("item,title\nv1,Hello, world\n")
    with pytest.raises(InputError, match="line 2: it has another number of columns"):
        titles_of(tmp_path / "comma.csv")
    (tmp_path / "foreign.csv").write_text("item,title\nnobody,Hello\n")
    assert chat.main([str(run), "--titles", str(tmp_path / "foreign.csv")]) == 2
    assert "none of its items" in capsys.readouterr().err


@pytest.fixture
def server(stage: Stage) -> Iterator[HTTPServer]:
    with server_of(Talk(stage, Names(stage.catalogue), None, None), 0) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def asked(
    server: HTTPServer,
    path: str,
    body: object = None,
    kind: str = "application/json",
    host: str | None = None,
) -> Any:
    named = {} if host is None else {"Host": host}
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": kind, **named},
    )
    with urllib.request.urlopen(request, timeout=30) as found:
        told = found.read()
    return json.loads(told) if path != "/" else told.decode()


def test_the_browser_gets_the_same_conversation(stage: Stage, server: HTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert "Be the user" in asked(server, "/")
    talk = stage.begin("gptrec")
    page = asked(server, "/page")
    names = Names(stage.catalogue)
    for _ in range(3):
        assert [item["name"] for item in page["items"]] == [names.of(i) for i in talk.slate()]
        page = asked(server, "/answer", {"page": page["page"], "clicked": [0, 2]})
        talk.answer(np.isin(np.arange(talk.slate_size), [0, 2]))
    assert page["page"] == 4
    other = asked(server, "/again", {"arm": "popularity"})
    assert (other["arm"], other["page"]) == ("popularity", 1)
    for body in (
        *({"page": 9}, {"page": 1, "clicked": [99]}, {"page": 1, "more_like": "x"}, [1]),
        *({"page": 1, "clicked": 5}, {"page": 1, "clicked": None}, {"page": 1, "more_like": False}),
    ):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            asked(server, "/answer", body)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        asked(server, "/again", {}, kind="text/plain")  # what a form of another site may send
    with pytest.raises(urllib.error.HTTPError, match="400"):
        asked(server, "/again", {"arm": "nobody"})
    assert asked(server, "/again", {})["arm"] == "popularity"  # the wrong one was not kept
    with socket.create_connection(("127.0.0.1", server.server_port)):  # who says nothing
        assert asked(server, "/page")["page"] == 1
    with pytest.raises(urllib.error.HTTPError, match="404"):
        asked(server, "/elsewhere")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        asked(server, "/page", host="somewhere.example")


def test_a_page_is_answered_at_once(stage: Stage) -> None:
    talk = stage.begin("gptrec")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        talk.slate()
        talk.expected()
        talk.interests()
        talk.answer(np.zeros(talk.slate_size, bool))
        took.append(time.perf_counter() - began)
    assert np.median(took) < 1.0  # a tenth of it on a quiet core
