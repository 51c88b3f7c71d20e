"""Files as frames: CSV, TSV, Parquet and RecBole's .inter."""

from pathlib import Path

import pandas as pd

from policies.common.errors import InputError


def read_table(path: Path) -> pd.DataFrame:
    """A .csv, .tsv, .parquet or RecBole .inter file as a frame; .inter types are cut off the column
    names.
    """
    if not path.exists():
        raise InputError(f"there is no file '{path}'")
    readers = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix in readers:
            frame = pd.read_csv(path, sep=readers[path.suffix], low_memory=False)
        else:
            raise InputError(
                f"'{path.name}': unknown kind of file; wanted .csv, .tsv, .parquet, .inter, or a"
                " .txt of lines 'user item item ...'"
            )
    except pd.errors.EmptyDataError:
        raise InputError(f"'{path}' is empty; give a log with at least one event") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' cannot be read: {str(error).splitlines()[0]}") from None
    if path.suffix == ".inter":
        frame.columns = [str(name).split(":")[0] for name in frame.columns]
    return frame
