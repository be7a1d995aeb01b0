"""Matrices and positives out of other people's files: every form they come in, and a line for every mistake."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conical.core.errors import DataError
from conical.core.hashing import file_fingerprint
from conical.store import read_matrix, read_positives

VALUES = np.array([[0.5, 1.0, -2.0], [0.25, 0.0, 4.0]])


class _Evil:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", ">f4"])
def test_npy_keeps_values_and_type(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "sim.npy"
    np.save(path, VALUES.astype(dtype))
    found = read_matrix(path)
    assert found.values.tolist() == VALUES.astype(dtype).tolist()
    assert found.values.dtype == dtype
    assert found.content_hash == file_fingerprint(path)
    assert str(found) == f"{path} (2 x 3, {np.dtype(dtype)}, sha256 {found.content_hash})"


def test_the_order_of_bytes_in_memory_does_not_matter(tmp_path: Path) -> None:
    np.save(tmp_path / "sim.npy", np.asfortranarray(VALUES))
    assert read_matrix(tmp_path / "sim.npy").values.tolist() == VALUES.tolist()


def test_npz_gives_its_only_array_or_the_named_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", sim=VALUES)
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES.T)
    assert read_matrix(tmp_path / "one.npz").name == "sim"
    assert read_matrix(f"{tmp_path}/two.npz:b").values.shape == (3, 2)
    assert str(read_matrix(f"{tmp_path}/two.npz:b")).startswith(f"{tmp_path}/two.npz:b (3 x 2")
    with pytest.raises(DataError, match=r"two\.npz holds 2 arrays: name one of a, b as .*two\.npz:NAME"):
        read_matrix(tmp_path / "two.npz")
    with pytest.raises(DataError, match=r"two\.npz has no array 'c': it holds a, b"):
        read_matrix(f"{tmp_path}/two.npz:c")


def test_a_colon_in_a_files_own_name_is_part_of_it(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npz:b.npy", VALUES)
    assert read_matrix(tmp_path / "a.npz:b.npy").values.shape == (2, 3)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.int32()])
def test_parquet_with_a_column_for_each_column(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {f"v{number}": pa.array(column, type=kind, safe=False) for number, column in enumerate(VALUES.T.round())}
    pq.write_table(pa.table(columns), tmp_path / "sim.parquet")
    assert read_matrix(tmp_path / "sim.parquet").values.tolist() == VALUES.round().tolist()


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)])
def test_parquet_with_a_list_for_each_row(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"row": pa.array(VALUES.tolist(), type=kind)}), tmp_path / "sim.parquet")
    assert read_matrix(tmp_path / "sim.parquet").values.tolist() == VALUES.tolist()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"id": ["a", "b"], "v": [1.0, 2.0]}), "must have columns of numbers only, got 'id' of string"),
        (pa.table({"v": [1.0, None]}), "must have no empty cell, got one in column 'v'"),
        (pa.table({"v": pa.array([], type=pa.float32())}), "is empty: 0 rows, 1 columns"),
        (pa.table({"row": [[1.0, 2.0], [1.0]]}), r"must have lists of one length, got \(1,\) to \(2,\)"),
        (
            pa.table({"row": [[1.0, 2.0], None, [3.0, 4.0]]}),
            r"sim\.parquet must have a list in each row, got none \(null\) in row 1, counted from 0",
        ),
        (pa.table({"row": [["a"], ["b"]]}), "must be real numbers in two dimensions"),
    ],
)
def test_other_parquet_is_refused(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "sim.parquet")
    with pytest.raises(DataError, match=message):
        read_matrix(tmp_path / "sim.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sim.npy", None, r"matrix .*sim\.npy cannot be read \(No such file or directory\)"),
        ("sim.npy", b"", r"is no whole \.npy file of plain numbers"),
        ("sim.npy", b"not numpy at all", r"is no whole \.npy file of plain numbers"),
        ("sim.npz", b"PK\x03\x04 cut", r"is no whole \.npz file of plain numbers"),
        ("sim.parquet", b"PAR1", r"is no whole \.parquet file of plain numbers"),
        ("sim.mat", b"", r"must be one of \.npy, \.npz, \.parquet; got \.mat"),
        ("sim", b"", r"must be one of \.npy, \.npz, \.parquet; got no suffix"),
    ],
)
def test_what_is_no_matrix_file_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_matrix(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_numpys_two_forms_are_told_apart_by_their_content(tmp_path: Path) -> None:
    with (tmp_path / "sim.npz").open("wb") as file:
        np.save(file, VALUES)
    with (tmp_path / "sim.npy").open("wb") as file:
        np.savez(file, sim=VALUES)
    assert read_matrix(tmp_path / "sim.npz").values.tolist() == VALUES.tolist()
    assert read_matrix(tmp_path / "sim.npy").name == "sim"


def test_a_name_belongs_to_npz_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"only a \.npz file holds several arrays; leave out ':x'"):
        read_matrix(f"{tmp_path}/sim.npy:x")


@pytest.mark.parametrize("name", ["sim.npy", "sim.npz"])
def test_nothing_is_unpickled(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = np.array([[_Evil()]], dtype=object)
    with (tmp_path / name).open("wb") as file:
        np.save(file, array) if name == "sim.npy" else np.savez(file, array)
    with pytest.raises(DataError, match=r"file of plain numbers .*allow_pickle"):
        read_matrix(name)
    (tmp_path / "sim.npy").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(DataError, match="file of plain numbers"):
        read_matrix("sim.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.zeros(3), r"float64 of shape \(3,\)"),
        (np.zeros((0, 3)), r"float64 of shape \(0, 3\)"),
        (np.zeros((2, 2, 2)), r"float64 of shape \(2, 2, 2\)"),
        (np.zeros((2, 2), dtype=complex), "complex128 of shape"),
        (np.zeros((2, 2), dtype=bool), "bool of shape"),
        (np.array([["a"]]), "<U1 of shape"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(tmp_path: Path, values: np.ndarray, got: str) -> None:
    np.save(tmp_path / "sim.npy", values)
    with pytest.raises(DataError, match=f"must be real numbers in two dimensions .* got {got}"):
        read_matrix(tmp_path / "sim.npy")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([2, 0], [[2], [0]]),
        ([[2], [0, 1]], [[2], [0, 1]]),
        ({"1": [0, 1], "0": 2}, [[2], [0, 1]]),
    ],
)
def test_positives_in_their_three_forms(tmp_path: Path, content: object, expected: list[list[int]]) -> None:
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert read_positives(tmp_path / "p.json", num_rows=2, num_columns=3) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"p\.json cannot be read as JSON"),
        ("5", "must have one entry for each of the 2 rows, got int"),
        ("[1]", "must have one entry for each of the 2 rows, got 1 entries"),
        ("[0, 3]", r"row 1 must name columns 0 to 2, at least one, got \[3\]"),
        ("[0, -1]", r"row 1 must name columns 0 to 2, at least one, got \[-1\]"),
        ("[[0], []]", r"row 1 must name columns 0 to 2, at least one, got \[\]"),
        ("[0, true]", r"row 1 must name columns 0 to 2, at least one, got \[True\]"),
        ('[0, "1"]', r"row 1 must name columns 0 to 2, at least one, got \['1'\]"),
        ('{"0": [1]}', "must name each of the rows 0 to 1 once: row 1 is missing"),
        (
            '{"0": [0], "0": [1], "1": [1]}',
            r"p\.json must name each row once, got row '0' with \[0\] and with \[1\]: put its columns into one list",
        ),
        ('{"0": [1], "1": [1], "7": [1]}', "must name each of the rows 0 to 1 once: there is no row '7'"),
    ],
)
def test_other_positives_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_positives(tmp_path / "p.json", num_rows=2, num_columns=3)


def test_positives_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json cannot be read as JSON .*No such file"):
        read_positives(tmp_path / "gone.json", num_rows=2, num_columns=3)
