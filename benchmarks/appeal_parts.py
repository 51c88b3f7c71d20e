"""What the pages of each arm are made of: good items, or items that fit the user?

    python benchmarks/appeal_parts.py RUN

The true appeal (logit of a click) of what an arm showed is split into the item's level, the same
for everybody, and the rest: how well the item fits this user, less what repetition and satiation
took away, against uniformly random slates where the run has them. Needs a run with its truth
recorded.
"""

import argparse
from pathlib import Path

import duckdb
from safetensors.numpy import load_file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory")
    run = parser.parse_args().run
    if not any((run / "truth").glob("*/*/*.parquet")):
        parser.error(f"'{run}' holds no truth table; wanted a finished run with record_truth on")
    levels = load_file(run / "users" / "arrays.safetensors")["item_level"]
    table = duckdb.sql(
        "select bucket, round, item, avg(appeal) as appeal, avg(probability) as chance, count(*)"
        f" as n from '{run}/truth/*/*/*.parquet' where bucket <> 'warmup' group by all"
    ).df()
    table["level"] = levels[table["item"]]
    table["rest"] = table["appeal"] - table["level"]
    weighted = table[["level", "rest", "chance"]].multiply(table["n"], axis=0).assign(n=table["n"])
    sums = weighted.groupby([table["bucket"], table["round"]]).sum()
    means = sums[["level", "rest", "chance"]].div(sums["n"], axis=0)
    if "uniform" in means.index:
        means["rest"] -= sums.loc["uniform", "rest"].sum() / sums.loc["uniform", "n"].sum()
    means.columns = ["item level [logit]", "fit to the user [logit]", "true click probability"]
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
