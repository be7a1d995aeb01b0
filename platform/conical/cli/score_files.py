"""`conical score`: other people's matrices and embeddings, so that a published number can be checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from conical.core.atomic import write_text_atomic
from conical.core.errors import DataError
from conical.core.hashing import file_fingerprint
from conical.metrics import FAMILIES, METRICS, DirectionMetrics, Family, find_family
from conical.metrics.external import dot_products, fuse, row_lengths, score_embeddings, score_similarity, unit_rows
from conical.reports import HEADINGS, Grid, format_metric, rich_table
from conical.store import MatrixFile, read_matrix, read_positives

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROTOCOL = "unknown (other people's scores)"
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What to score, and how.

    Args:
        files: addresses of matrices, rows are texts; several are added up with the weights of `fuse`.
        embeddings: addresses of text and video embeddings, in place of matrices.
        fuse: weights, one per matrix, with commas between.
        positives: JSON file of the correct columns of each row; None: the diagonal.
        rescore: a family, one of `FAMILIES` or `package.module:NAME`; None: scores as they are.
        bank: where the family needs one: address of the scores of train captions against the same videos.
        scale: the family's scale; None: its default.
        is_transposed: the matrices' rows are videos.
        is_cosine: bring embeddings to length 1 first.
        num_distractors: columns, after one per row, that no row names; None: there are none.
        json_path: where to write the numbers.
    """

    files: Sequence[str] = ()
    embeddings: tuple[str, str] | None = None
    fuse: str | None = None
    positives: Path | None = None
    rescore: str | None = None
    bank: str | None = None
    scale: float | None = None
    is_transposed: bool = False
    is_cosine: bool = False
    num_distractors: int | None = None
    json_path: Path | None = None

    def __post_init__(self) -> None:
        def refuse(is_wrong: bool, message: str) -> None:
            if is_wrong:
                raise DataError(message)

        is_embedded, family = self.embeddings is not None, self.family
        refuse(not is_embedded and not self.files, "nothing to score: give a matrix, or --embeddings TEXT VIDEO")
        refuse(is_embedded and bool(self.files), "give matrices or --embeddings, got both")
        refuse(
            len(self.files) > 1 and self.fuse is None,
            f"got {len(self.files)} matrices: give their weights as --fuse, for example 0.7,0.3",
        )
        for is_given, option in ((bool(self.fuse), "--fuse"), (self.is_transposed, "--transpose")):
            refuse(is_given and not self.files, f"{option} is about matrices: leave out --embeddings")
        refuse(
            self.num_distractors is not None and self.positives is not None,
            "--distractors counts the columns after the diagonal: --positives names the correct ones, leave one out",
        )
        refuse(
            self.num_distractors is not None and self.num_distractors < 1,
            f"--distractors must be >= 1, got {self.num_distractors}",
        )
        refuse(self.is_cosine and not is_embedded, "--cosine is about embeddings: give --embeddings")
        refuse(self.scale is not None and family is None, "--scale belongs to a family: give --rescore")
        refuse(
            self.scale is not None and family is not None and not family.scale,
            f"--scale: family {self.rescore} has none, leave it out",
        )
        needs_bank = family is not None and family.needs_bank
        refuse(
            needs_bank and self.bank is None,
            f"--rescore {self.rescore} needs --bank: scores of train captions, same videos",
        )
        banked = ", ".join(name for name, row in FAMILIES.items() if row.needs_bank)
        refuse(
            self.bank is not None and not needs_bank, f"--bank belongs to --rescore {banked}: add it, or leave it out"
        )

    @property
    def family(self) -> Family | None:
        """What `rescore` names.

        Raises:
            ValueError: there is no such family.
        """
        return None if self.rescore is None else find_family(self.rescore, what="--rescore")

    @property
    def parameters(self) -> dict[str, float]:
        """Of the family, with `scale` in its place; none without a family."""
        return {} if self.family is None else self.family.at_scale(self.scale)

    @property
    def used_scale(self) -> float | None:
        """The scale that the family works with, None where there is none."""
        return None if self.family is None else self.parameters.get(self.family.scale)

    @property
    def weights(self) -> list[float]:
        """The numbers of `fuse`, or 1 for one matrix.

        Raises:
            DataError: a weight is no number.
        """
        if self.fuse is None:
            return [1.0]
        try:
            return [float(word) for word in self.fuse.split(",")]
        except ValueError as error:
            raise DataError(f"--fuse must be numbers with commas between, got {self.fuse!r}: e.g. 0.73,0.27") from error


def score_files(console: Console, options: ScoreOptions) -> None:
    """Score, print a table, write the numbers if asked.

    Raises:
        DataError: a file or an option is wrong.
        ValueError: a score is NaN, or a shape does not fit.
    """
    if options.embeddings is not None:
        files = [read_matrix(address) for address in options.embeddings]
        bank = _read_bank(files, options)
        directions, notes = _score_embeddings(files, bank, options)
    else:
        files = [read_matrix(address) for address in options.files]
        bank = _read_bank(files, options)
        directions, notes = _score_matrices(files, bank, options)
    console.print(rich_table(_grid(directions, notes, options), width=console.width), soft_wrap=False)
    for file in files:
        console.print(f"{file}, protocol {PROTOCOL}", highlight=False, markup=False)
    if bank is not None:
        console.print(f"bank {bank}", highlight=False, markup=False)
    if options.positives is not None:
        fingerprint = file_fingerprint(options.positives)
        console.print(f"positives {options.positives} (sha256 {fingerprint})", highlight=False, markup=False)
    if options.json_path is not None:
        write_text_atomic(options.json_path, json.dumps(_plain(files, bank, directions, options), indent=1))
        console.print(f"numbers: {options.json_path}", highlight=False, markup=False)


def _read_bank(files: Sequence[MatrixFile], options: ScoreOptions) -> MatrixFile | None:
    if options.bank is None:
        return None
    bank = read_matrix(options.bank)
    if any((bank.content_hash, bank.name) == (file.content_hash, file.name) for file in files):
        raise DataError(
            f"--bank must hold scores of train captions, got the scored matrix itself ({options.bank}): "
            "a bank of test queries is another number"
        )
    return bank


def _score_matrices(
    files: Sequence[MatrixFile], bank: MatrixFile | None, options: ScoreOptions
) -> tuple[Mapping[str, DirectionMetrics], list[str]]:
    matrices = [file.values.T if options.is_transposed else file.values for file in files]
    similarity = matrices[0] if len(matrices) == 1 and options.fuse is None else fuse(matrices, options.weights)
    return _rescored(similarity, bank, options), _scale_notes(similarity, options)


def _score_embeddings(
    files: Sequence[MatrixFile], bank: MatrixFile | None, options: ScoreOptions
) -> tuple[Mapping[str, DirectionMetrics], list[str]]:
    text, video = (file.values for file in files)
    notes = []
    if options.is_cosine:
        text, video = unit_rows("text", text), unit_rows("video", video)
    else:
        norms = [row_lengths(part) for part in (text, video)]
        low, high = min(part.min() for part in norms), max(part.max() for part in norms)
        if max(1 - low, high - 1) > _UNIT_TOLERANCE:
            notes.append(
                f"Rows have lengths from {low:.3g} to {high:.3g}; scores are dot products, --cosine gives cosines."
            )
    if text.shape[1] != video.shape[1]:
        raise DataError(f"embeddings must have one width, got {text.shape[1]} for text and {video.shape[1]} for video")
    if options.rescore is not None:
        similarity = dot_products(text, video)
        return _rescored(similarity, bank, options), [*notes, *_scale_notes(similarity, options)]
    positives = _positives(options, num_rows=len(text), num_columns=len(video))
    return score_embeddings(text, video, positives), notes


def _scale_notes(similarity: NDArray[Any], options: ScoreOptions) -> list[str]:
    """A hint where scores look multiplied already, at the scale that is meant for cosines."""
    family = options.family
    if family is None or not family.is_scale_of_cosines or options.scale is not None:
        return []
    largest = float(max(similarity.max(), -similarity.min()))
    if largest <= 1 + _UNIT_TOLERANCE:
        return []
    return [
        f"Scores reach {largest:.3g} and are no cosines; scale {options.used_scale:g} is for cosines: "
        "if they are multiplied already, use --scale 1."
    ]


def _rescored(
    similarity: NDArray[Any], bank: MatrixFile | None, options: ScoreOptions
) -> Mapping[str, DirectionMetrics]:
    positives = _positives(options, num_rows=similarity.shape[0], num_columns=similarity.shape[1])
    family = options.family
    if family is None:
        return score_similarity(similarity, positives)
    formula = partial(family.rescore, **options.parameters)
    if bank is None:
        return score_similarity(similarity, positives, rescore=formula)
    rescored = formula(similarity, bank.values.T if options.is_transposed else bank.values)
    # a bank of captions says nothing of how videos find texts
    return {"t2v": score_similarity(rescored, positives)["t2v"]}


def _positives(options: ScoreOptions, *, num_rows: int, num_columns: int) -> list[list[int]] | None:
    if options.positives is not None:
        return read_positives(options.positives, num_rows=num_rows, num_columns=num_columns)
    if num_rows > num_columns:
        raise DataError(
            f"{num_rows} texts and {num_columns} videos: say which belong together with --positives"
            + ("" if options.embeddings else ", or --transpose if the file's rows are videos")
        )
    extra = num_columns - num_rows
    if extra != (options.num_distractors or 0):
        said = f"--distractors {options.num_distractors} was said" if options.num_distractors else "none was announced"
        turned = "" if options.embeddings else "--transpose if the file's rows are videos, "
        raise DataError(
            f"{num_rows} texts and {num_columns} videos leave {extra} videos without a text, and {said}: give {turned}"
            f"--positives to say which belong together, or --distractors {extra} if video i is correct for text i and "
            "the rest for none"
            if extra
            else f"{num_rows} texts and as many videos leave no distractor, and {said}: leave it out"
        )
    return None


def _grid(directions: Mapping[str, DirectionMetrics], notes: list[str], options: ScoreOptions) -> Grid:
    body = []
    for name, found in directions.items():
        cells = [format_metric(metric) for metric in found.metrics.values()]
        body.append((name, str(found.num_queries), str(found.num_gallery), *cells))
        if found.has_ties:
            bounds = (
                f"{HEADINGS[name]} {metric.tie_low:.1f} to {metric.tie_high:.1f}"
                for name, metric in found.metrics.items()
                if metric.tie_low != metric.tie_high
            )
            notes.append(f"{name} has ties, which count by chance; by how they are broken: {', '.join(bounds)}.")
    family = "" if options.family is None else f", rescored by {options.family.name}"
    family += "" if options.used_scale is None else f" at scale {options.used_scale:g}"
    title = f"Protocol {PROTOCOL}{family}; recalls in percent, ranks from 1, 95 % intervals"
    header = ("Task", "Queries", "Gallery", *(HEADINGS[metric] for metric in METRICS))
    optional = tuple(header.index(heading) for heading in ("MedR", "Gallery", "R@5"))
    return Grid(title=title, header=header, body=tuple(body), notes=tuple(notes), num_keys=1, optional=optional)


def _plain(
    files: Sequence[MatrixFile],
    bank: MatrixFile | None,
    directions: Mapping[str, DirectionMetrics],
    options: ScoreOptions,
) -> dict[str, Any]:
    positives = options.positives
    return {
        "protocol": "unknown",
        "family": None if options.family is None else options.family.name,
        "scale": options.used_scale,
        "weights": options.weights if options.files else None,
        "cosine": options.is_cosine,
        "files": [_plain_file(file) for file in files],
        "bank": None if bank is None else _plain_file(bank),
        "positives": None if positives is None else {"path": str(positives), "sha256": file_fingerprint(positives)},
        "directions": {name: _plain_direction(found) for name, found in directions.items()},
    }


def _plain_file(file: MatrixFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "array": file.name,
        "sha256": file.content_hash,
        "shape": list(file.values.shape),
        "dtype": str(file.values.dtype),
    }


def _plain_direction(found: DirectionMetrics) -> dict[str, Any]:
    values: dict[str, Any] = {name: asdict(metric) for name, metric in found.metrics.items()}
    return values | {
        "num_queries": found.num_queries,
        "num_gallery": found.num_gallery,
        "has_ties": found.has_ties,
    }
