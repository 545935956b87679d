"""``python -m training rows``: public data sets as rows that `RowsData` reads."""

from argparse import ArgumentParser
from itertools import islice
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from training.public_data.folder import data_folder
from training.public_data.rows import SETS
from training.rows import write_rows


def rows(args: list[str]) -> None:
    """Run the command.

    Args:
        args: what follows ``rows`` on the command line.

    Raises:
        FileNotFoundError: the data set is not there; the message says where to get it.
        RowsInvalid: it holds what no row may hold, or the output is neither JSONL nor Parquet.
    """
    parser = ArgumentParser(
        prog="python -m training rows",
        description="Write a public data set as rows of documents and conversations, for training.rows_data.RowsData.",
    )
    parser.add_argument("--set", required=True, choices=sorted(SETS), help="which data set")
    parser.add_argument("--data-dir", type=Path, help="folder of data sets; HYPERNET_DATA_DIR by default")
    parser.add_argument("--output", type=Path, required=True, help="file to write, .jsonl or .parquet")
    parser.add_argument("--limit", type=int, help="the most rows to write; all by default")
    chosen = parser.parse_args(args)
    write, source = SETS[chosen.set]
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    count = write_rows(chosen.output, islice(write(data_folder(chosen.data_dir)), chosen.limit))
    rank_zero_info(f"Wrote {count} rows to {chosen.output}. Source: {source}")
