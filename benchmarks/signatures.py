"""What recognises a recording by its signal alone, and whom it takes for somebody else.

On real PTB-XL records (and the Challenge's copies of some, where they are given): exact signatures, the
same recordings at 100 and 500 Hz, copies with another gain, filter and a crop, and all pairs of different
patients.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

from biofm.datasets.registry import source
from biofm.datasets.wfdb16 import read_wfdb
from biofm.shards.duplicates import find_duplicates
from biofm.shards.signature import fingerprint, signature
from biofm.signals import Preprocessing, Signal, preprocess

COPIES = 300


@dataclass(frozen=True)
class Known:
    """A recording as `verify` knows it."""

    record: str
    subject: str
    signature: str
    fingerprint: bytes | None


def known(record: str, subject: str, signal: Signal) -> Known:
    """Both signatures of a signal."""
    return Known(record, subject, signature((signal,)), fingerprint((signal,)))


def matches(a: Sequence[Known], b: Sequence[Known]) -> list[tuple[Known, Known]]:
    """Pairs of one of `a` and one of `b` whose fingerprints say that they are copies."""
    both = [one for one in (*a, *b) if one.fingerprint is not None]
    first_b = sum(one.fingerprint is not None for one in a)
    pairs = find_duplicates([one.fingerprint for one in both if one.fingerprint is not None])
    return [(both[p.first], both[p.second]) for p in pairs if p.first < first_b <= p.second]


def altered(signal: Signal, rng: np.random.Generator) -> Signal:
    """Resampled to 250 Hz, filtered to 0.67–40 Hz, another gain, a tenth cut off at the ends."""
    copy = preprocess(signal, Preprocessing(250.0, 0.67, 40.0))
    length = copy.samples.shape[1]
    first = int(rng.integers(0, length // 10 + 1))
    samples = copy.samples[:, first : first + length - length // 10] * np.float32(
        rng.uniform(0.4, 2.5)
    )
    return replace(copy, samples=np.ascontiguousarray(samples))


def tell(what: str, found: list[tuple[Known, Known]], of: int) -> None:
    """A row: how many recordings were found, and which matches are of different people."""
    right = {a.record for a, b in found if a.subject == b.subject}
    wrong = [f"{a.record} and {b.record}" for a, b in found if a.subject != b.subject]
    print(f"| {what} | {len(right)} of {of} | {', '.join(wrong) or 'none'} |")


def main(roots: list[Path], challenge: Path | None = None) -> None:
    """Print the table.

    Args:
        roots: Folders of PTB-XL.
        challenge: Folder of the Challenge that holds some of the same recordings (HR…).
    """
    ptbxl = source("ptbxl")
    refs = ptbxl.find(roots)
    signals = {ref.record: ptbxl.read(ref).signal("ecg") for ref in refs}
    everyone = [known(ref.record, ref.subject, signals[ref.record]) for ref in refs]
    print("| PTB-XL by signal alone | found | matched, but of different patients |\n|---|---|---|")
    if challenge is not None:
        others = source("challenge")
        copies = [ref for ref in others.find([challenge, *roots]) if ref.path.name.startswith("HR")]
        exact = {one.signature: one for one in everyone}
        theirs = [known(r.record, r.subject, others.read(r).signal("ecg")) for r in copies]
        same = [(one, exact[one.signature]) for one in theirs if one.signature in exact]
        tell("the Challenge's copies, exact signature", same, len(theirs))
        tell("the Challenge's copies, fingerprint", matches(theirs, everyone), len(theirs))
    low = []
    for ref in refs:
        path = Path(str(ref.path).replace("records500", "records100").replace("_hr", "_lr"))
        if path.with_name(f"{path.name}.hea").is_file():
            low.append(known(ref.record, ref.subject, read_wfdb(path).ecg()))
    if low:
        tell("the same at 100 Hz, against 500 Hz", matches(low, everyone), len(low))
    rng = np.random.default_rng(0)
    picked = rng.choice(len(refs), min(COPIES, len(refs)), replace=False).tolist()
    changed = [
        known(refs[i].record, refs[i].subject, altered(signals[refs[i].record], rng))
        for i in picked
    ]
    tell(
        "copies: 250 Hz, 0.67–40 Hz, gain 0.4–2.5, a tenth cropped",
        matches(changed, everyone),
        len(changed),
    )
    start = time.perf_counter()
    pairs = find_duplicates([one.fingerprint for one in everyone if one.fingerprint is not None])
    seconds = time.perf_counter() - start
    people = len({one.subject for one in everyone})
    print(f"\n{len(everyone)} recordings, {people} patients; all pairs in {seconds:.1f} s:")
    for pair in pairs:
        a, b = everyone[pair.first], everyone[pair.second]
        whose = "one patient" if a.subject == b.subject else "two patients"
        how = "the same samples" if a.signature == b.signature else "similar"
        print(f"- {a.record} and {b.record}: {how} ({pair.correlation:.3f}), {whose}")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
