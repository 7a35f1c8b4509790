"""Where the benchmark's public data lies: in $KDDOCTOR_DATA, beside the checkout, in the user's cache, or online."""

import json
import os
import urllib.request
from collections.abc import Callable
from gzip import compress
from pathlib import Path

from kddoctor.errors import UsageError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
MOVIELENS = "https://vincentarelbundock.github.io/Rdatasets/csv/dslabs/movielens.csv"
SENTIMENT = (
    "https://raw.githubusercontent.com/cjhutto/vaderSentiment/master/additional_resources/"
    "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
)


def find(name: str) -> Path:
    """The file of a name such as ``movielens.csv.gz``. Raises UsageError where it is neither here nor to be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kddoctor" / "data"
    chosen = os.environ.get("KDDOCTOR_DATA")
    for directory in (*([Path(chosen)] if chosen else []), SHARED, cache):
        if (directory / name).is_file():
            return directory / name
    return _download(name, cache / name)


def _download(name: str, path: Path) -> Path:
    source = _SOURCES.get(name) or (_fashion if name.startswith("fashion-mnist/") else None)
    if source is None:
        raise UsageError(f"{name}: there is no public source for this file")
    try:
        content = source(name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{name}: is not here and could not be downloaded ({reason}); put it into a directory and name that in "
            "KDDOCTOR_DATA"
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def _fashion(name: str) -> bytes:
    return _get(FASHION + name.removeprefix("fashion-mnist/"))


def _newsgroups(_name: str) -> bytes:
    """scikit-learn's copy, as lower-cased words."""
    import re

    from sklearn.datasets import fetch_20newsgroups

    lines = []
    for split in ("train", "test"):
        posts = fetch_20newsgroups(subset=split)
        for text, label in zip(posts.data, posts.target, strict=True):
            words = " ".join(re.findall(r"[a-z]+", text.lower()))
            lines.append(json.dumps({"split": split, "label": posts.target_names[label], "text": words}))
    return compress("\n".join(lines).encode())


def _sentiment(_name: str) -> bytes:
    rows = [line.split("\t") for line in _get(SENTIMENT).decode("utf-8", "replace").splitlines()]
    lines = ["id\tscore\ttext", *("\t".join((row[0], row[1], row[-1])) for row in rows if len(row) >= 3)]
    return compress("\n".join(lines).encode())


_SOURCES: dict[str, Callable[[str], bytes]] = {
    "movielens.csv.gz": lambda _name: compress(_get(MOVIELENS)),
    "newsgroups.jsonl.gz": _newsgroups,
    "sentiment.tsv.gz": _sentiment,
}
