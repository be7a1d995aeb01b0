"""Hash the captions of the published lists again: `python jobs/hash_published_captions.py FOLDER`.

FOLDER holds msrvtt/, msvd/ and didemo/ with their official annotation files; videos are not needed.
"""

import json
import sys
from pathlib import Path

PLATFORM = Path(__file__).resolve().parent.parent / "platform"
sys.path.insert(0, str(PLATFORM))

from conical.core.atomic import write_text_atomic
from conical.datasets.annotations import Annotations
from conical.datasets.cards import DATASETS
from conical.datasets.published_captions import encode_list

VARIANTS = {"msrvtt": ({"split": "1k-A"}, {"split": "full"}), "msvd": ({},), "didemo": ({},)}


def main(folder: Path) -> None:
    hashes: dict[str, dict[str, str]] = {}
    for name, variants in VARIANTS.items():
        for options in variants:
            annotations = DATASETS[name].reader(folder / name, **options)
            assert isinstance(annotations, Annotations)
            captions = {record.video_id: record.captions for record in annotations.videos}
            for list_name, ids in annotations.lists.items():
                if all(captions.get(video_id) for video_id in ids):
                    hashes.setdefault(name, {})[list_name] = encode_list(ids, captions)
    path = PLATFORM / "conical" / "datasets" / "published_captions.json"
    write_text_atomic(path, json.dumps(hashes, indent=0) + "\n")
    print({name: sorted(lists) for name, lists in hashes.items()}, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
