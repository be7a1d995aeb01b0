"""`conical score`, as typed: what it prints, what it writes, and one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conical.cli.main import run
from conical.core.hashing import file_fingerprint
from conical.metrics import dual_softmax, qb_norm, retrieval_metrics

SIMILARITY = np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32) + np.eye(12, dtype=np.float32)
OTHER = np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some files, and the folder to stand in; no workspace may be made there."""
    monkeypatch.chdir(tmp_path)
    # a terminal with room for each interval beside its number
    monkeypatch.setenv("COLUMNS", "160")
    np.save("a.npy", SIMILARITY)
    np.save("b.npy", OTHER)
    np.save("same.npy", SIMILARITY)
    np.save("wide.npy", SIMILARITY[:6])
    np.save("nan.npy", np.where(np.eye(12) > 0, np.nan, SIMILARITY))
    np.save("text.npy", 3 * OTHER)
    np.save("video.npy", SIMILARITY)
    np.save("narrow.npy", OTHER[:, :5])
    return tmp_path


def score(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run(["score", *words])
    printed = capsys.readouterr()
    assert not Path("workspace").exists()
    return int(ended.value.code or 0), printed.out, printed.err


def numbers(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, dict[str, float]]]:
    code, _, err = score(capsys, *words, "--json", "out.json")
    assert code == 0, err
    return json.loads(Path("out.json").read_text())["directions"]


def test_a_matrix_prints_intervals_and_where_it_came_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = score(capsys, "a.npy")
    found = retrieval_metrics(SIMILARITY).t2v
    interval = found.metrics["R1"]
    assert code == 0
    assert f"{found.R1:.1f} [{interval.low:.1f}, {interval.high:.1f}]" in out
    assert f"a.npy (12 x 12, float32, sha256 {file_fingerprint(folder / 'a.npy')}), protocol unknown" in out
    assert "ties" not in out


def test_numbers_are_those_of_the_library(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fused = np.float32(0.73) * SIMILARITY + np.float32(0.27) * OTHER
    cases = {
        ("a.npy",): retrieval_metrics(SIMILARITY),
        ("a.npy", "--transpose"): retrieval_metrics(SIMILARITY.T),
        ("a.npy", "b.npy", "--fuse", "0.73,0.27"): retrieval_metrics(fused),
        ("a.npy", "--rescore", "dsl"): retrieval_metrics(SIMILARITY, rescore=dual_softmax),
        ("a.npy", "--rescore", "dsl", "--scale", "2"): retrieval_metrics(
            SIMILARITY, rescore=lambda scores: dual_softmax(scores, tau=2.0)
        ),
        ("--embeddings", "text.npy", "video.npy"): retrieval_metrics(3 * OTHER @ SIMILARITY.T),
    }
    for words, expected in cases.items():
        found = numbers(capsys, *words)
        assert list(found) == ["t2v", "v2t"], words
        for name, direction in expected.directions().items():
            for metric, value in direction.values().items():
                assert found[name][metric]["value"] == pytest.approx(value), (words, name, metric)
                assert found[name][metric]["low"] == pytest.approx(direction.metrics[metric].low)


def test_a_bank_of_captions_speaks_of_text_to_video_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = numbers(capsys, "a.npy", "--rescore", "qbnorm", "--bank", "b.npy")
    assert list(found) == ["t2v"]
    assert found["t2v"]["MeanR"]["value"] == retrieval_metrics(qb_norm(SIMILARITY, OTHER)).t2v.MeanR
    out = score(capsys, "a.npy", "--rescore", "qbnorm", "--bank", "b.npy")[1]
    assert "rescored by qbnorm at scale 20" in out
    assert "v2t" not in out


def test_bank_and_positives_are_recorded_with_their_hashes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.json").write_text(json.dumps(list(range(12))))
    words = ("a.npy", "--rescore", "qbnorm", "--bank", "b.npy", "--positives", "p.json")
    out = score(capsys, *words, "--json", "out.json")[1]
    bank, positives = file_fingerprint("b.npy"), file_fingerprint("p.json")
    assert f"bank b.npy (12 x 12, float32, sha256 {bank})" in out
    assert f"positives p.json (sha256 {positives})" in out
    written = json.loads(Path("out.json").read_text())
    shape = {"shape": [12, 12], "dtype": "float32"}
    assert written["bank"] == {"path": "b.npy", "array": "", "sha256": bank, **shape}
    assert written["positives"] == {"path": "p.json", "sha256": positives}
    score(capsys, "a.npy", "--json", "plain.json")
    plain = json.loads(Path("plain.json").read_text())
    assert plain["bank"] is plain["positives"] is None


def test_scores_that_are_no_cosines_get_a_hint_of_the_scale(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("cosines.npy", SIMILARITY / np.abs(SIMILARITY).max())
    np.save("logits.npy", 100 * SIMILARITY / np.abs(SIMILARITY).max())
    hint = (
        "Scores reach 100 and are no cosines; scale 100 is for cosines: if they are multiplied already, use --scale 1."
    )
    for words, is_said in (
        (("logits.npy", "--rescore", "dsl"), True),
        (("logits.npy", "--rescore", "dsl", "--scale", "1"), False),
        (("cosines.npy", "--rescore", "dsl"), False),
        (("logits.npy",), False),
    ):
        out = score(capsys, *words)[1]
        assert (hint in " ".join(out.split())) == is_said, words


def test_positives_may_name_several_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.json").write_text(json.dumps([[row, (row + 1) % 12] for row in range(12)]))
    assert list(numbers(capsys, "a.npy", "--positives", "p.json")) == ["t2v", "v2t_any"]
    Path("p.json").write_text(json.dumps([row // 2 for row in range(12)]))
    assert list(numbers(capsys, "a.npy", "--positives", "p.json")) == ["t2v", "v2t", "v2t_any"]


def test_ties_are_said_with_their_bounds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("tied.npy", np.zeros((10, 10)))
    out = score(capsys, "tied.npy")[1]
    assert "t2v has ties, which count by chance; by how they are broken: R@1 0.0 to 100.0, R@5 0.0" in out
    assert "10.0 [10.0, 10.0]" in out


def test_embeddings_that_are_not_of_length_one_are_said_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "scores are dot products, --cosine gives cosines" in score(capsys, "--embeddings", "text.npy", "video.npy")[
        1
    ].replace("\n", " ")
    assert "dot products" not in score(capsys, "--embeddings", "text.npy", "video.npy", "--cosine")[1]
    # lengths matter to dot products, and not to cosines
    np.save("scaled.npy", SIMILARITY * np.arange(1, 13)[:, None])
    scaled = ("--embeddings", "text.npy", "scaled.npy")
    assert numbers(capsys, *scaled, "--cosine") == numbers(capsys, "--embeddings", "text.npy", "video.npy", "--cosine")
    assert numbers(capsys, *scaled) != numbers(capsys, *scaled, "--cosine")


def test_rescored_embeddings_are_rescored_matrices(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("product.npy", 3 * OTHER @ SIMILARITY.T)
    family = ("--rescore", "dsl", "--scale", "1.5")
    ours = numbers(capsys, "--embeddings", "text.npy", "video.npy", *family)
    assert ours == numbers(capsys, "product.npy", *family)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a.npy --embeddings a.npy b.npy", "give matrices or --embeddings, got both"),
        ("a.npy b.npy", "got 2 matrices: give their weights as --fuse"),
        ("a.npy b.npy --fuse 1", "one weight for each of the 2 matrices, got 1"),
        ("a.npy b.npy --fuse 1,x", "--fuse must be numbers with commas between, got '1,x'"),
        ("a.npy wide.npy --fuse 1,1", "must have one shape, got 12 x 12, 6 x 12"),
        ("--fuse 1,2", "nothing to score: give a matrix, or --embeddings TEXT VIDEO"),
        ("--embeddings a.npy b.npy --fuse 1", "--fuse is about matrices: leave out --embeddings"),
        ("--embeddings a.npy b.npy --transpose", "--transpose is about matrices: leave out --embeddings"),
        ("a.npy --cosine", "--cosine is about embeddings: give --embeddings"),
        ("a.npy --scale 3", "--scale belongs to a family: give --rescore"),
        ("a.npy --rescore dls", "--rescore must be one of dsl, qbnorm; got 'dls'. Did you mean 'dsl'"),
        ("a.npy --rescore qbnorm", "--rescore qbnorm needs --bank: scores of train captions"),
        (
            "b.npy a.npy --fuse 1,1 --rescore qbnorm --bank same.npy",
            "--bank must hold scores of train captions, got the scored matrix itself (same.npy)",
        ),
        ("a.npy --bank b.npy", "--bank belongs to --rescore qbnorm"),
        (
            "wide.npy --rescore qbnorm --bank text.npy --transpose",
            "12 texts and 6 videos: say which belong",
        ),
        ("a.npy --rescore dsl --scale 0", "tau must be a finite number > 0, got 0.0"),
        ("a.npy --run x", "No such option: --run"),
        ("a.npy --set seed=1", "No such option: --set"),
        ("wide.npy --transpose", "12 texts and 6 videos: say which belong together with --positives, or"),
        ("nan.npy", "similarity must hold no NaN, got one in row 0: look for NaN"),
        (
            "nan.npy --rescore dsl",
            "must be finite for a dual softmax, got NaN or infinity in row 0",
        ),
        ("--embeddings text.npy narrow.npy", "embeddings must have one width, got 12 for text and 5 for video"),
        ("--embeddings nan.npy video.npy", "text must have finite rows that are not zero, got row 0 of norm nan"),
        ("gone.npy", "matrix gone.npy cannot be read (No such file or directory)"),
        ("a.npy --positives gone.json", "positives gone.json cannot be read as JSON"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    code, out, err = score(capsys, *words.split())
    assert (code, out) == (2, "")
    assert err.startswith("conical: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("shape", "words", "message"),
    [
        ((6, 20), (), "6 texts and 20 videos leave 14 videos without a text, and none was announced: give --transpose"),
        ((6, 20), ("--distractors", "3"), r"leave 14 videos without a text, and --distractors 3 was said"),
        ((12, 12), ("--distractors", "3"), r"leave no distractor, and --distractors 3 was said: leave it out"),
        ((20, 6), (), r"20 texts and 6 videos: say which belong together with --positives, or --transpose"),
        ((6, 20), ("--transpose",), r"20 texts and 6 videos: say which belong together with --positives"),
        ((6, 20), ("--distractors", "0"), r"--distractors must be >= 1, got 0"),
    ],
)
def test_a_matrix_on_its_side_is_never_taken_for_one_with_distractors(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, int],
    words: tuple[str, ...],
    message: str,
) -> None:
    np.save("sim.npy", np.random.default_rng(0).normal(size=shape).astype(np.float32))
    code, _, err = score(capsys, "sim.npy", *words)
    assert code == 2
    assert message in " ".join(err.split())


def test_distractors_that_are_announced_are_ranked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    similarity = np.hstack([np.eye(6), 2 * np.eye(6)[:, :4], np.zeros((6, 10))]).astype(np.float32)
    np.save("sim.npy", similarity)
    found = numbers(capsys, "sim.npy", "--distractors", "14")["t2v"]
    # four of six texts prefer a distractor
    assert found["R1"]["value"] == pytest.approx(100 * 2 / 6)
