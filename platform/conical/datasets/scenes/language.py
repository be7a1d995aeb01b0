"""The language of scenes: partial captions as people write them, full descriptions, and facts read back from text.

A fact is a triple of words:

    (colour, "shape" | "size" | "motion", value)    ("red", "shape", "circle")
    ("order", colour, colour)                       the first entered before the second
    ("background", "texture", value)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from conical.core.options import require_choice
from conical.datasets.scenes.truth import COLOURS, SceneObject, SceneTruth

Fact = tuple[str, str, str]

LEVELS = ("A", "B", "C")

_SHAPE_WORDS = {
    "circle": ("circle", "ball", "disc", "dot"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle", "wedge"),
    "star": ("star",),
    "cross": ("cross", "plus"),
}
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_COLOUR_WORDS = {
    **{colour: (colour,) for colour in COLOURS},
    "red": ("red", "crimson"),
    "yellow": ("yellow", "golden"),
    "cyan": ("cyan", "turquoise"),
    "purple": ("purple", "violet"),
}
_MOTION_PHRASES = {
    "left": ("moves left", "slides to the left", "drifts left", "heads off to the left"),
    "right": ("moves right", "slides to the right", "drifts right", "heads off to the right"),
    "up": ("moves up", "rises", "floats upwards", "climbs up"),
    "down": ("moves down", "falls", "sinks slowly", "drops down"),
    "still": ("stays still", "does not move", "just sits there", "stays put"),
}
_MOTION_WORDS = {
    "left": ("left", "leftwards"),
    "right": ("right", "rightwards"),
    "up": ("up", "upwards", "rises", "rising", "climbs"),
    "down": ("down", "downwards", "falls", "falling", "sinks", "drops"),
    "still": ("still", "stays", "sits", "motionless", "not"),
}
_TEXTURE_WORDS = {
    "striped": ("striped", "stripes"),
    "checked": ("checked", "checks", "chequered"),
    "spotted": ("spotted", "spots"),
    "cloudy": ("cloudy", "clouds"),
}


def _inverse(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: meaning for meaning, words in table.items() for word in words}


_SHAPE_OF, _SIZE_OF, _COLOUR_OF = _inverse(_SHAPE_WORDS), _inverse(_SIZE_WORDS), _inverse(_COLOUR_WORDS)
_MOTION_OF, _TEXTURE_OF = _inverse(_MOTION_WORDS), _inverse(_TEXTURE_WORDS)


def true_facts(truth: SceneTruth) -> frozenset[Fact]:
    """Every fact of a scene that the language can express."""
    facts: set[Fact] = {("background", "texture", truth.background.texture)}
    for k, item in enumerate(truth.objects):
        facts |= {
            (item.colour, "shape", item.shape),
            (item.colour, "size", item.size),
            (item.colour, "motion", item.motion),
        }
        facts |= {("order", item.colour, later.colour) for later in truth.objects[k + 1 :]}
    return frozenset(facts)


def named_facts(text: str) -> frozenset[Fact]:
    """The facts a text states about coloured objects; what it says about anything else is not read.

    An object is `[size] colour [shape]`; a motion word belongs to the object before it; `then`, `followed by` and
    `before` order two neighbours, `after` orders them the other way round.

    >>> sorted(named_facts("a tiny red ball rises"))
    [('red', 'motion', 'up'), ('red', 'shape', 'circle'), ('red', 'size', 'small')]
    """
    words = re.findall(r"[a-z]+", text.lower())
    facts: set[Fact] = {("background", "texture", _TEXTURE_OF[word]) for word in words if word in _TEXTURE_OF}
    starts = [k for k, word in enumerate(words) if word in _COLOUR_OF]
    links: list[tuple[str, str]] = []
    for number, start in enumerate(starts):
        colour = _COLOUR_OF[words[start]]
        end = starts[number + 1] if number + 1 < len(starts) else len(words)
        facts |= _facts_of_mention(colour, words[max(0, start - 1) : end], has_before=start > 0)
        if number + 1 < len(starts):
            links += _order_of(colour, _COLOUR_OF[words[end]], words[start:end])
    facts |= {("order", first, second) for first, second in _closure(links)}
    return frozenset(facts)


def _facts_of_mention(colour: str, words: Sequence[str], *, has_before: bool) -> set[Fact]:
    """`words` runs from the word before the colour (if there is one) to the next object."""
    facts: set[Fact] = set()
    if has_before and words[0] in _SIZE_OF:
        facts.add((colour, "size", _SIZE_OF[words[0]]))
    rest = words[2:] if has_before else words[1:]
    if rest and rest[0] in _SHAPE_OF:
        facts.add((colour, "shape", _SHAPE_OF[rest[0]]))
    motion = next((_MOTION_OF[word] for word in rest if word in _MOTION_OF), None)
    if motion:
        facts.add((colour, "motion", motion))
    return facts


def _order_of(colour: str, following: str, between: Sequence[str]) -> list[tuple[str, str]]:
    if {"then", "followed", "before"} & set(between):
        return [(colour, following)]
    return [(following, colour)] if "after" in between else []


def _closure(links: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """What the links imply together: a before b and b before c make a before c."""
    known = set(links)
    while True:
        implied = {(a, d) for a, b in known for c, d in known if b == c and a != d} - known
        if not implied:
            return known
        known |= implied


def describe(truth: SceneTruth, level: str) -> str:
    """A full description at the level of detail of prompt A, B or C; objects in order of entry.

    Args:
        level: `A`: all facts and an interpretation; `B`: all facts; `C`: the objects alone.

    Raises:
        ValueError: no such level.
    """
    require_choice("level", level, LEVELS)
    if level == "C":
        return f"{_join([_article(f'{item.colour} {item.shape}') for item in truth.objects]).capitalize()}."
    clauses = [f"a {item.size} {item.colour} {item.shape} {_MOTION_PHRASES[item.motion][0]}" for item in truth.objects]
    events = ", then ".join(clauses)
    if level == "B":
        return f"{events.capitalize()}, on a {truth.background.texture} ground."
    return (
        f"At first {events}. Behind them lies a {truth.background.texture} ground. "
        f"It feels {_mood(truth)}, as if {_relation(truth)}."
    )


def _join(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _mood(truth: SceneTruth) -> str:
    num_moving = sum(item.motion != "still" for item in truth.objects)
    if num_moving == len(truth.objects):
        return "restless"
    return "calm" if num_moving == 0 else "balanced"


def _relation(truth: SceneTruth) -> str:
    """How the first two objects seem to get along: the part of a description that no pixel shows."""
    pair = (truth.objects[0].motion, truth.objects[1].motion)
    if "still" in pair:
        return "one waits for the other" if pair[0] != pair[1] else "both wait for a sign"
    if pair[0] == pair[1]:
        return "they travel together"
    return "they part ways" if set(pair) in ({"left", "right"}, {"up", "down"}) else "each goes its own way"


def write_captions(truth: SceneTruth, rng: np.random.Generator) -> tuple[str, ...]:
    """Four to six captions as people would write them: each tells a part, in its own words.

    Args:
        rng: source of all choices.
    """
    count = int(rng.integers(4, 7))
    captions: list[str] = []
    while len(captions) < count:
        kind = _KINDS[int(rng.choice(len(_KINDS), p=_KIND_WEIGHTS))]
        caption = _finish(kind(truth, rng), rng)
        if caption not in captions:
            captions.append(caption)
    return tuple(captions)


def _one_of(rng: np.random.Generator, words: Sequence[str]) -> str:
    # the first word is the common one: people's synonyms are not uniform
    weights = np.array([2.0] + [1.0] * (len(words) - 1))
    return words[int(rng.choice(len(words), p=weights / weights.sum()))]


def _noun(item: SceneObject, rng: np.random.Generator, *, size_chance: float) -> str:
    size = f"{_one_of(rng, _SIZE_WORDS[item.size])} " if rng.random() < size_chance else ""
    phrase = f"{size}{_one_of(rng, _COLOUR_WORDS[item.colour])} {_one_of(rng, _SHAPE_WORDS[item.shape])}"
    return _article(phrase)


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _two_objects(truth: SceneTruth, rng: np.random.Generator) -> list[SceneObject]:
    """Two objects in order of entry."""
    chosen = sorted(rng.permutation(len(truth.objects))[:2])
    return [truth.objects[int(k)] for k in chosen]


def _pair(truth: SceneTruth, rng: np.random.Generator) -> str:
    nouns = [_noun(item, rng, size_chance=0.1) for item in _two_objects(truth, rng)]
    if rng.random() < 0.5:
        nouns.reverse()
    forms = ("{} and {}", "there is {} and {}", "{} with {}", "{} next to {}", "I see {} and also {}", "{} near {}")
    return _one_of(rng, forms).format(*nouns)


def _pair_in_motion(truth: SceneTruth, rng: np.random.Generator) -> str:
    first, second = _two_objects(truth, rng)
    motions = [_one_of(rng, _MOTION_PHRASES[item.motion]) for item in (first, second)]
    nouns = [_noun(item, rng, size_chance=0.0) for item in (first, second)]
    return f"{nouns[0]} {motions[0]} while {nouns[1]} {motions[1]}"


def _single_in_motion(truth: SceneTruth, rng: np.random.Generator) -> str:
    item = truth.objects[int(rng.integers(len(truth.objects)))]
    return f"{_noun(item, rng, size_chance=1.0)} {_one_of(rng, _MOTION_PHRASES[item.motion])}"


def _order(truth: SceneTruth, rng: np.random.Generator) -> str:
    first, second = (_noun(item, rng, size_chance=0.2) for item in _two_objects(truth, rng))
    forms = ("{0}, then {1}", "{0} comes before {1}", "{0} followed by {1}", "{1} comes after {0}")
    return _one_of(rng, forms).format(first, second)


def _single(truth: SceneTruth, rng: np.random.Generator) -> str:
    item = truth.objects[int(rng.integers(len(truth.objects)))]
    form = _one_of(rng, ("a video of {}", "{} on the screen", "look, {}"))
    return form.format(_noun(item, rng, size_chance=1.0))


_KINDS: tuple[Callable[[SceneTruth, np.random.Generator], str], ...] = (
    _pair,
    _pair_in_motion,
    _single_in_motion,
    _order,
    _single,
)
_KIND_WEIGHTS = (0.5, 0.06, 0.16, 0.13, 0.15)


def _finish(text: str, rng: np.random.Generator) -> str:
    """Some people write a sentence, some do not."""
    return text if rng.random() < 0.4 else f"{text[0].upper()}{text[1:]}."
