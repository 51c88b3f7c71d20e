"""What holds of any event table: no row is lost, ids come back, order does not matter."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.common.errors import InputError
from policies.log import Dataset
from policies.sources.event_table import from_frame

ROW = st.tuples(
    st.sampled_from(["ann", "bob", "Ç", "4"]),
    st.sampled_from(["x", "y", "z", "007"]),
    st.integers(0, 20 * 86_400),
    st.booleans(),
)


def frame_of(rows: list[tuple[str, str, int, bool]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "click"])
    frame["time"] = frame["time"] + 1_700_000_000.0
    return frame.assign(click=frame["click"].astype(int))


def keyed(data: Dataset) -> set[tuple[str, str, bool]]:
    log = data.log
    return set(zip(data.user_ids[log.user], data.catalogue.ids[log.item], log.clicked.tolist()))


@settings(max_examples=25, deadline=None)
@given(st.lists(ROW, min_size=4, max_size=40, unique_by=lambda r: (r[0], r[1], r[2])))
def test_rows_and_ids_survive(rows: list[tuple[str, str, int, bool]]) -> None:
    frame = frame_of(rows)
    if min(frame["time"].nunique(), frame["user"].nunique()) == 1 or not frame["click"].any():
        with pytest.raises(InputError):  # one time, one user or no click at all
            from_frame(frame, "made up")
        return
    data = from_frame(frame, "made up")
    assert len(data.log) == len(rows)
    assert int(data.log.clicked.sum()) == sum(row[3] for row in rows)
    assert set(data.user_ids) == {row[0] for row in rows}
    assert set(data.catalogue.ids[1:]) == {row[1] for row in rows}
    assert keyed(data) == {(u, i, c) for u, i, _, c in rows}
    assert (np.diff(data.log.time) >= 0).all()
    shuffled = from_frame(frame.sample(frac=1.0, random_state=0).reset_index(drop=True), "made up")
    assert keyed(shuffled) == keyed(data)


@pytest.mark.parametrize("column", ["user", "item", "time"])
def test_a_missing_value_is_refused_in_one_line(column: str) -> None:
    frame = frame_of([("ann", "x", 0, True), ("bob", "y", 90, False), ("ann", "z", 300, True)])
    frame[column] = frame[column].astype(object)
    frame.loc[1, column] = None
    with pytest.raises(InputError) as refused:
        from_frame(frame, "made up")
    assert "\n" not in str(refused.value)
