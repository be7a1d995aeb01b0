"""The page docs/frame_accuracy.md, from a run of the suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conical.video.backends.rules import AUTO_ORDER
from conical.workbench.frame_accuracy.decode_speed import NUM_FRAMES, DecodingTime, measure_times
from conical.workbench.frame_accuracy.kinds import KINDS
from conical.workbench.frame_accuracy.random_access import decord_get_batch, torchcodec_frames_at
from conical.workbench.frame_accuracy.suite import Accuracy, Reader, decoder_reader, measure

# by import path no rule holds a backend back, so the table shows what the rule is made of
_UNBRIDLED = {name: f"conical.video.backends.{name}:{name}_frames" for name in AUTO_ORDER}
_RANDOM: dict[str, Reader] = {
    "decord get_batch": decord_get_batch,
    "torchcodec get_frames_at": torchcodec_frames_at,
}
_NUM_RANDOM = 10

_HEAD = """# Frame accuracy

Made by `python jobs/frame_accuracy.py`; do not edit. {provenance}

Each of the {num_kinds} kinds of file below is written with every frame naming itself in its pixels: six binary digits
and their complements, and four coloured corners that tell orientation, shape and colours. So the truth is what was
encoded, not what another decoder says. A frame is exact if it is the right picture, upright, in shape and colour
(within 18 of 255 levels), at its time (within 2 ms). All frames of a file are asked for, of random access {num_random}.

- *exact*, *wrong (how many are right)* or *refused*, with the CPU time of one reading, packet scan included.
- **bold**: the backend may be used for this kind (`video/backends/rules.py`). A test holds that such a pair is exact,
  and that its frames have the same bytes as PyAV's.
- not bold: what the backend does when no rule holds it back. Sampling refuses the pair, because of these frames or
  because its colours are rounded otherwise than PyAV's.

`decoder = "auto"` takes {order}, in this order, the next only where one refuses. PyAV reads every kind, so
what a store holds does not depend on what else is installed. Nothing ever seeks: the last two columns show why (they
are no backends, and cannot be chosen).

"""


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """All that the page shows.

    Args:
        results: one per kind and reader.
        allowed: pairs of kind and backend that sampling accepts.
        times: on clips of usual size.
    """

    results: tuple[Accuracy, ...]
    allowed: frozenset[tuple[str, str]]
    times: tuple[DecodingTime, ...]

    def __repr__(self) -> str:
        return f"SuiteRun(results={len(self.results)}, allowed={len(self.allowed)}, times={len(self.times)})"


def run_suite(
    folder: Path, *, repeats: int = 3, kinds: Iterable[str] = tuple(KINDS), has_times: bool = True
) -> SuiteRun:
    """Write the clips into `folder` and read them by every reader.

    Args:
        folder: exists; about 1 MB of clips is left in it.
        repeats: readings of which the fastest counts, >= 1.
        kinds: which of `KINDS`.
        has_times: decode clips of usual size too, some ten seconds.
    """
    results: list[Accuracy] = []
    allowed: set[tuple[str, str]] = set()
    for name in kinds:
        kind, path = KINDS[name], KINDS[name].write(folder / name)
        for decoder, address in _UNBRIDLED.items():
            reader = decoder_reader(address)
            results.append(measure(kind, path, name=name, reader_name=decoder, reader=reader, repeats=repeats))
            bridled = measure(kind, path, name=name, reader_name=decoder, reader=decoder_reader(decoder))
            if bridled.status != "refused":
                allowed.add((name, decoder))
        for title, reader in _RANDOM.items():
            found = measure(
                kind, path, name=name, reader_name=title, reader=reader, num_wanted=_NUM_RANDOM, repeats=repeats
            )
            results.append(found)
    times = measure_times(folder, decoders=AUTO_ORDER, repeats=repeats) if has_times else []
    return SuiteRun(results=tuple(results), allowed=frozenset(allowed), times=tuple(times))


def accuracy_page(run: SuiteRun, provenance: Mapping[str, str]) -> str:
    """The page as Markdown.

    Args:
        provenance: versions, date, commit and so on, by name.
    """
    kinds = list(dict.fromkeys(result.kind for result in run.results))
    facts = "; ".join(f"{name} {value}" for name, value in provenance.items())
    head = _HEAD.format(
        provenance=f"Measured with: {facts}.",
        num_kinds=len(kinds),
        num_random=_NUM_RANDOM,
        order=", ".join(AUTO_ORDER),
    )
    parts = [head, _totals(run), _by_kind(run, kinds), _reasons(run)]
    return "\n".join([*parts, _speed(run.times)] if run.times else parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _readers(run: SuiteRun) -> list[str]:
    return list(dict.fromkeys(result.reader for result in run.results))


def _totals(run: SuiteRun) -> str:
    rows = []
    for reader in _readers(run):
        mine = [result for result in run.results if result.reader == reader]
        counts = [str(sum(result.status == status for result in mine)) for status in ("exact", "wrong", "refused")]
        num_allowed = sum((result.kind, reader) in run.allowed for result in mine)
        rows.append([reader, *counts, str(num_allowed)])
    return _table(["reader", "kinds exact", "kinds wrong", "kinds refused", "kinds allowed"], rows)


def _by_kind(run: SuiteRun, kinds: Sequence[str]) -> str:
    found = {(result.kind, result.reader): result for result in run.results}
    readers = _readers(run)
    rows = [[f"`{kind}`", *(_cell(found[kind, reader], run) for reader in readers)] for kind in kinds]
    return "## Kind by reader\n\n" + _table(["kind", *readers], rows)


def _cell(result: Accuracy, run: SuiteRun) -> str:
    if result.status == "refused":
        return "refused"
    right = "" if result.status == "exact" else f" ({result.num_exact} of {result.num_frames})"
    text = f"{result.status}{right}, {result.milliseconds:.1f} ms"
    return f"**{text}**" if (result.kind, result.reader) in run.allowed else text


def _reasons(run: SuiteRun) -> str:
    """Why backends refused, the file's name and the advice taken out, with the number of kinds."""
    counts: dict[tuple[str, str], int] = {}
    for result in run.results:
        if result.refusal and result.reader in _UNBRIDLED:
            reason = result.refusal.removeprefix(f"{result.kind}: ").partition(";")[0]
            counts[result.reader, reason] = counts.get((result.reader, reason), 0) + 1
    rows = [[reader, reason.replace("|", "/"), str(number)] for (reader, reason), number in sorted(counts.items())]
    return "## What the backends refuse by themselves\n\n" + _table(["backend", "reason", "kinds"], rows)


def _speed(times: Sequence[DecodingTime]) -> str:
    rows = [
        [
            f"{time.width} x {time.height}",
            time.decoder,
            "refused" if time.milliseconds is None else f"{time.milliseconds:.0f}",
            "" if time.milliseconds is None else f"{1000 * NUM_FRAMES / time.milliseconds:.0f}",
        ]
        for time in times
    ]
    title = f"## Time for ten frames of 224 px out of {NUM_FRAMES}, H.264, one thread, CPU time"
    return f"{title}\n\n" + _table(["size", "decoder", "ms a clip", "decoded frames/s of CPU"], rows)
