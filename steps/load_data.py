"""Reads the rows: edit this function where data does not come as a file."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ridgeway.artifacts import ColumnType
from ridgeway.data_source import read_table


def load_data(source: Path, types: Mapping[str, ColumnType]) -> pd.DataFrame:
    """One row per observation, features and label as columns.

    Args:
        source: ``data.source`` of ridgeway.toml, or what ``--data`` names.
        types: The declared type of each column, from the expectation suite.
    """
    return read_table(source, types)
