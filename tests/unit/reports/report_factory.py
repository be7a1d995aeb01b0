"""A made-up report of every part, for tests and for looking at the page.

python tests/unit/reports/report_factory.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conical.metrics import Comparison, k_occurrence
from conical.reports import (
    Ablation,
    AblationLine,
    BrowserView,
    Clip,
    Curve,
    ErrorBrowser,
    Hit,
    HubSample,
    MetricValue,
    Outcome,
    Provenance,
    QueryCase,
    RankSample,
    ReportData,
    RunRow,
    published_rows,
    write_report,
)
from conical.store import Sweep, Trial

LABELS = (
    "Zero-shot tiny CLIP",
    "InfoNCE, human captions",
    "CEO, human captions",
    "CEO with supplements",
    "Tuned CEO",
)
CONFIG = (
    '[loss]\nname = "ceo"\ntau_tv = 41.3\ntau_ta = 24.0\ntau_va = 12.5\n'
    "\n[mix]\nhuman = 0.4\nA = 0.4\nB = 0.2\nC = 0.0\n"
)


def metric(value: float, spread: float) -> MetricValue:
    return MetricValue(round(value, 1), round(value - spread, 1), round(value + spread, 1))


def row(label: str = "CEO", *, split: str = "test", recall: float = 40.0, **changes: object) -> RunRow:
    """A row whose metrics follow from one recall, in percent."""
    metrics = {}
    for direction, shift in (("t2v", 0.0), ("v2t", -1.5), ("v2t_any", -4.0)):
        base = max(0.5, recall + shift)
        for name, value, spread in (
            ("R1", base, 3.5),
            ("R5", min(95.0, base * 1.7), 3.0),
            ("R10", min(97.0, base * 2.0), 2.5),
            ("MedR", max(1.0, 60 / base), 0.5),
            ("MeanR", 200 / base, 1.2),
        ):
            metrics[f"{direction}/{name}"] = metric(value, min(spread, value))
    fields = {"run_id": f"run-{label[:3].lower()}", "protocol": "raw", "num_queries": 200, "num_gallery": 200}
    return RunRow(label=label, split=split, metrics=metrics, **{**fields, **changes})  # type: ignore[arg-type]


def shapes(seed: int, *, frames: int = 10, size: int = 64) -> NDArray[np.uint8]:
    """A coloured disc that crosses a textured background."""
    rng = np.random.default_rng(seed)
    strip = np.empty((frames, size, size, 3), np.uint8)
    strip[:] = rng.integers(60, 120, 3) + rng.integers(0, 40, (size, size, 1))
    y, x = np.mgrid[:size, :size]
    start, stop, colour = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.1, 0.9, 2) * size, rng.integers(120, 256, 3)
    for index, share in enumerate(np.linspace(0, 1, frames)):
        centre = start + (stop - start) * share
        strip[index][(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (size / 6) ** 2] = colour
    return strip


def sweep(num_trials: int = 12) -> Sweep:
    rng = np.random.default_rng(0)
    trials = []
    for number in range(num_trials):
        taus = {f"loss.tau_{pair}": float(10 ** rng.uniform(0.6, 2)) for pair in ("tv", "ta", "va")}
        mix = {f"mix.{source}": float(share) for source, share in zip("hABC", rng.dirichlet(np.ones(4)), strict=True)}
        mix["mix.human"] = mix.pop("mix.h")
        status = "failed" if number == 7 else "stopped" if number % 3 == 0 else "finished"
        value = None if status == "failed" else 30 + 10 * mix["mix.A"] - abs(np.log(taus["loss.tau_tv"] / 40)) * 4
        epochs = 2 if number % 3 == 0 else 6
        trials.append(trial(number, value, status=status, settings={**taus, **mix}, epochs=epochs))
    return sweep_of(*trials)


def trial(number: int, value: float | None, **changes: object) -> Trial:
    fields = {"run_key": f"k{number}", "settings": {}, "status": "finished", "epochs": 1}
    return Trial(number=number, value=value, **{**fields, **changes})  # type: ignore[arg-type]


def sweep_of(*trials: Trial, metric: str = "val/raw/t2v/R1") -> Sweep:
    return Sweep(key="s", metric=metric, tracking_id="t", is_finished=True, trials=trials)


def clip(number: int, *, prefix: str = "scene") -> Clip:
    return Clip(
        video_id=f"{prefix}_{number:05d}",
        captions=tuple(f"caption {place} of {prefix} {number}" for place in range(5)),
        supplements=(("A", "A large disc moves from the left edge to the right over a dark green texture."),),
        filmstrip=shapes(number),
    )


def outcome(label: str, rank: float, own: int, *, is_v2t: bool = False) -> Outcome:
    hits = tuple(
        Hit(
            video_id=f"scene_{own if place == rank else (own + place) % 12:05d}",
            score=0.41 - 0.03 * place,
            is_correct=place == rank,
            text=f"hit {place} of scene {own}" if is_v2t else "",
        )
        for place in (1, 2, 3)
    )
    return Outcome(label=label, rank=rank, hits=hits)


def case(text: str, rank: float, against: float | None = None, *, own: int = 0, is_v2t: bool = False) -> QueryCase:
    """A query of scene `own`, from 0 to 11."""
    return QueryCase(
        text=text,
        video_id=f"scene_{own:05d}",
        outcome=outcome(LABELS[3], rank, own, is_v2t=is_v2t),
        against=None if against is None else outcome(LABELS[1], against, own, is_v2t=is_v2t),
    )


def browser() -> ErrorBrowser:
    """Two directions of a pair, and a run alone."""
    texts = ("a red ball rolls in", "two squares", "the blue triangle leaves", "a ring and a star", "nothing moves")
    changes = ((40.0, 1.0), (17.5, 3.0), (2.0, 1.0), (1.0, 2.0), (1.0, 30.0))
    shared = {"split": "test", "protocol": "raw", "num_queries": 200}
    pair = [
        BrowserView(
            label=LABELS[3],
            against=LABELS[1],
            direction=direction,
            cases=tuple(
                case(f"{text}, {direction}", *ranks, own=own, is_v2t=direction == "v2t")
                for own, (text, ranks) in enumerate(zip(texts, changes, strict=True))
            ),
            num_lost=70,
            num_gained=90,
            **shared,
        )
        for direction in ("t2v", "v2t")
    ]
    alone = BrowserView(
        label=LABELS[3], against=None, direction="t2v", cases=(case("a red ball rolls in, alone", 40.0),), **shared
    )
    return ErrorBrowser(views=(*pair, alone), clips={found.video_id: found for found in map(clip, range(8))})


def ablation() -> Ablation:
    change = {"label_a": LABELS[3], "label_b": LABELS[2], "difference": 1.0, "low": -1.0, "high": 3.0}
    flat = comparison(**change, verdict="no significant difference")
    base = AblationLine(
        change="base: human captions only", label=LABELS[2], metrics={"R1": metric(31, 3)}, against_base={}
    )
    mixed = AblationLine(
        change="mix human 0.4, A 0.4, B 0.2, captioner tiny-video-llava",
        label=LABELS[3],
        metrics={"R1": metric(32, 3), "R10": metric(60, 3)},
        against_base={"R1": flat, "R10": comparison(label_a=LABELS[3], label_b=LABELS[2])},
        num_seeds=3,
    )
    return Ablation(lines=(base, mixed), split="test", protocol="raw", num_queries=200, num_gallery=200)


def comparison(**changes: object) -> Comparison:
    fields = {
        "label_a": LABELS[3],
        "label_b": LABELS[1],
        "metric": "test/raw/t2v/R1",
        "difference": 4.2,
        "low": 1.1,
        "high": 7.4,
        "verdict": "a is better",
        "wins": 61,
        "losses": 40,
        "draws": 99,
        "seed_differences": (4.0, 4.2, 4.4),
    }
    return Comparison(**{**fields, **changes})  # type: ignore[arg-type]


def report(title: str = "scenes: supplements and conical embedding optimisation") -> ReportData:
    """A report with every part filled."""
    rng = np.random.default_rng(1)
    recalls = (9.0, 30.5, 31.0, 36.5, 39.0)
    rows = [
        row(
            label,
            split=split,
            recall=recall + shift,
            num_queries=size,
            num_gallery=size,
            has_ties=label == LABELS[0],
            comparable=f"{size:x}9c1185a5c5e9",
            trained_commit="77ab03d19e52",
        )
        for split, shift, size in (("val", 4.0, 100), ("test", 0.0, 200))
        for label, recall in zip(LABELS, recalls, strict=True)
    ]
    told = {"protocol": "paired-supplement", "uses_target": True, "note": "partial: 198 of 200 test videos"}
    rows.append(row("Tuned CEO", recall=61.0, **told))
    epochs = tuple(range(1, 7))
    curves = [
        Curve(label=label, name=name, steps=epochs, values=tuple(end + (start - end) * 0.6**epoch for epoch in epochs))
        for label, recall in zip(LABELS[1:], recalls[1:], strict=True)
        for name, start, end in (("train/loss", 5.0, 1.2 - recall / 100), ("val/raw/t2v/R1", 9.0, recall + 4))
    ]
    ranks = [
        RankSample(
            label=label,
            split="test",
            protocol="raw",
            direction=direction,
            ranks=np.clip(rng.lognormal(spread, 1.2, 200).round(), 1, 200),
            num_gallery=200,
        )
        for label, spread in ((LABELS[0], 3.0), (LABELS[1], 1.6), (LABELS[4], 1.1))
        for direction in ("t2v", "v2t")
    ]
    flat = {"label_a": LABELS[2], "difference": 0.5, "low": -2.6, "high": 3.7, "verdict": "no significant difference"}
    return ReportData(
        title=title,
        rows=tuple(rows),
        sweep=sweep(),
        curves=tuple(curves),
        ranks=tuple(ranks),
        hubs=tuple(
            HubSample(
                label=label,
                split="test",
                protocol="raw",
                direction=direction,
                counts=k_occurrence(rng.normal(size=(200, 200)) + spread * rng.normal(size=200)),
                k=10,
                num_queries=200,
            )
            for label, spread in ((LABELS[1], 0.2), (LABELS[4], 1.0))
            for direction in ("t2v", "v2t")
        ),
        browser=browser(),
        ablations=(ablation(),),
        comparisons=(comparison(), comparison(**flat)),
        published=published_rows("msrvtt"),
        provenance=Provenance(
            config_toml=CONFIG,
            commit="0f3c9d2e71aa (clean)",
            hashes={"manifest": "9c1185a5c5e9fc54", "frames": "6e340b9cffb37a98", "captions": "d2a84f4b8b650937"},
            environment={"python": "3.11.2", "torch": "2.14.1", "device": "cpu, 2 cores"},
            date="2026-01-31T12:00:00+00:00",
            command="python jobs/report.py --config jobs/configs/demo.toml",
        ),
        notes=("Two of 702 videos could not be read; they are listed in failures.parquet.",),
    )


if __name__ == "__main__":
    print(write_report(report(), Path(sys.argv[1])).page)
