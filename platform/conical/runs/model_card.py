"""The README of an exported run: a model card as hubs read it, with what was stored and nothing recomputed.

It is made to be shown to others: paths, addresses and machines are left out, and users' texts are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from conical.config import Experiment
from conical.core.hashing import file_fingerprint
from conical.datasets import DATASETS
from conical.metrics import DIRECTIONS, METRICS
from conical.models import MODELS
from conical.models.heads import head_card
from conical.reports import HEADINGS, format_metric
from conical.runs.looks import with_all_looks
from conical.store import EvaluationRecord, RunFolder, RunRecord

# tables of the settings that make a model or its numbers; the others say where and how it ran
_SHOWN = ("seed", "dataset", "frames", "captions", "mix", "model", "loss", "augment", "optim", "evaluate")
_HIDDEN = ("dataset.root", "captions.endpoint")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$@])")
# line breaks and other controls, and the marks that turn the direction of what follows
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def model_card(run: RunFolder, experiment: Experiment, *, weights: Path) -> str:
    """The card as Markdown.

    Args:
        weights: the exported file, for its hash.
    """
    record = with_all_looks(run)
    sections = (
        _front_matter(experiment),
        f"# {escape_markdown(record.label)}",
        "A CLIP for video-text retrieval, trained by conical. Everything below was stored with the run.",
        _loading(experiment, has_head=run.head.is_file()),
        _method(experiment, record),
        *_numbers(run, record),
        _settings(experiment),
        _provenance(record, weights),
    )
    return "\n\n".join(sections) + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line.

    >>> escape_markdown("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    text = _CONTROL.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)


def _front_matter(experiment: Experiment) -> str:
    """YAML without a word of the user's."""
    options = experiment.model
    # other weights than the card's come with a licence that we do not know
    known = MODELS[options.name].licence.lower() if options.name in MODELS and not options.weights else "unknown"
    tags = ("clip", "open_clip", "conical", "video-text-retrieval")
    return "\n".join(("---", f"license: {known}", "library_name: open_clip", "tags:", *(f"- {t}" for t in tags), "---"))


def _loading(experiment: Experiment, *, has_head: bool) -> str:
    head, alone, setting = experiment.model.head, "", ""
    if has_head:
        alone = (
            f"\n\nThe head {escape_markdown(head)} makes one embedding of a clip from those of its frames. Its "
            "parameters are in head.safetensors; open_clip loads the CLIP alone."
        )
        setting = f'\nhead = "{head}"'  # a path that was imported: no markup fits in it
    return f"""## Use

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

A clip is {experiment.frames.num_frames} frames. Its embedding is made from their normalised embeddings:
{_head_summary(head)}, normalised again. Scores are cosines with text embeddings.{alone}

As the start of another run of conical's, in its config:

```toml
[model]
name = "FOLDER/open_clip_config.json"
weights = "FOLDER/open_clip_model.safetensors"{setting}
```"""


def _head_summary(name: str) -> str:
    return escape_markdown(head_card(name).summary.partition(";")[0])


def _method(experiment: Experiment, record: RunRecord) -> str:
    card, dataset = experiment.loss.card, DATASETS.get(experiment.dataset.name)
    shares = ", ".join(f"{share:.2g} {name}" for name, share in experiment.mix.items())
    shares += f"; {record.supplements_note}" if record.supplements_note else ""
    start = f"{_shown(experiment.model.name)} {_shown(experiment.model.weights)}".rstrip()
    lines = [
        f"- loss: {escape_markdown(card.title)}: {escape_markdown(card.summary)} ({escape_markdown(card.source)})",
        f"- training texts: {escape_markdown(shares)}",
        f"- start: {escape_markdown(start)}",
    ]
    if experiment.optim.epochs == 0:
        lines = ["- not trained: the model as it was loaded", lines[-1]]
    described = f": {dataset.description} Licence: {dataset.licence}." if dataset else ""
    lines.append(f"- data: {escape_markdown(_shown(experiment.dataset.name) + described)}")
    return "\n".join(("## Method and data\n", *lines))


def _numbers(run: RunFolder, record: RunRecord) -> Iterator[str]:
    # val before test: on the one it was chosen, then the other was looked at
    names = sorted(run.evaluation_names(), key=lambda name: (name.split != "val", str(name)))
    times = "once" if record.test_looks == 1 else f"{record.test_looks} times"
    told = f"The test split was looked at {times}." if names else "Nothing was scored yet."
    yield f"## Numbers\n\nRecalls in percent, MedR and MeanR as ranks, each with its 95 % interval. {told}"
    for name in names:
        scored = run.read_evaluation(name.split, name.protocol, family=name.family, subset=name.subset)
        if scored is not None:
            yield _evaluation(scored, record)


def _evaluation(scored: EvaluationRecord, record: RunRecord) -> str:
    title = f"### {scored.name.part}, protocol {scored.name.scores}"
    lines = [
        (direction, *(format_metric(scored.metrics.get(f"{direction}/{metric}")) for metric in METRICS))
        for direction in DIRECTIONS
        if f"{direction}/R1" in scored.metrics
    ]
    looks = record.looks_note(scored.name) if scored.split == "test" else ""
    mark = "the queries use the target video" if scored.uses_target else ""
    notes = [note for note in (mark, scored.settings_note, scored.partial_note, looks) if note]
    counts = f"{scored.num_queries:,} queries, {scored.num_gallery:,} videos"
    text = escape_markdown("; ".join((counts, *notes)))
    return f"{title}\n\n{text}.\n\n{_table(('direction', *(HEADINGS[metric] for metric in METRICS)), lines)}"


def _settings(experiment: Experiment) -> str:
    own, default = experiment.params(), Experiment().params()
    changed = [
        (f"`{name}`" if name.replace(".", "").replace("_", "").isalnum() else escape_markdown(name), _setting(value))
        for name, value in own.items()
        if value != default.get(name) and name.partition(".")[0] in _SHOWN and not name.startswith(_HIDDEN)
    ]
    table = _table(("setting", "value"), changed) if changed else "None."
    return f"## Settings that differ from the defaults\n\n{table}"


def _setting(value: str) -> str:
    return escape_markdown(_shown(value))


def _shown(value: str) -> str:
    """A path of this machine by its last part; anything else as it is."""
    return Path(value).name if value.startswith(("/", "~")) else value


def _provenance(record: RunRecord, weights: Path) -> str:
    lines = [
        ("run", record.key),
        ("best epoch on val", f"{record.best_epoch:g}"),
        ("commit", record.environment.get("commit", "unknown")),
        *((f"hash of {name}", value) for name, value in record.data_hashes.items()),
        ("hash of the weights here", file_fingerprint(weights)),
    ]
    table = _table(("what", "value"), [(escape_markdown(what), escape_markdown(value)) for what, value in lines])
    return f"## Where it comes from\n\n{table}"


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *body))
