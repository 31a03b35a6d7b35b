"""One variant on one device, filled as the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lxbench import score, verdict
from lxbench.baselines import Baseline, ClipRecord
from lxbench.corpus import Corpus
from lxbench.gpu import State
from lxbench.ladder import Variant
from lxbench.run.disturbance import Disturbance
from lxbench.run.throughput import Throughput
from lxbench.score import Counts, Normalizer
from lxbench.stats import MIN_CLIPS, Interval, Shift, Timing, effective, mean_ratio, timing
from lxbench.transcribe import PARTS, Transcript
from lxbench.verdict import Verdict, Word
from lxbench.worker import roofline
from lxbench.worker.build import BuildReport
from lxbench.worker.profile import Profile
from lxbench.worker.serve import Usage

# What of a row is measured, and not judged.
_MEASURED = (
    "corpus",
    "report",
    "transcripts",
    "pairs",
    "processes",
    "occasions",
    "timed",
    "disturbance",
    "gpu",
    "driver_mib",
    "usage",
    "profiles",
    "shortened",
    "throughput",
)


def row_id(variant: Variant, device: str) -> str:
    """The test id of a row, such as ``bf16-cpu``: a string, so that saved runs stay readable."""
    return f"{variant.name}-{device}"


@dataclass
class Row:
    """What is known of one variant.

    Attributes:
        corpus: the clips of this row: all of the run's, or the first so many.
        scored: whether what it says means anything; not that of random weights, see ``shapes``.
        is_reference: whether this is fp32, which the others are held against.
        report: how it was built; None where that failed.
        crash: why it died; empty where it did not.
        batch_crash: why it died in batches.
        speed_crash: why its speed is unknown though it lives: the reference died beside it.
        transcripts: by clip id, in the corpus's order.
        pairs: by clip id, seconds of fp32 and of this variant in the same minutes, a pair a round; empty for fp32.
        processes, occasions: how many pairs are of each process, and of each occasion, see ``Pairing``.
        timed: whether every clip was timed.
        disturbance: what else the machine did while the row was timed.
        gpu: its clocks and what throttled it while the row was timed, what was on it afterwards; None on a CPU.
        driver_mib: memory that the driver counts for the row's process, libraries and all; None where it is not known.
        usage: memory, compilations and warnings of the worker while it transcribed; None where it did not finish.
        profiles: of ``encoder`` and ``decoder``, where asked for.
        throughput: what it did in batches, where asked for.
        usable: whether WER is within the margin of fp32's in this run; None where fp32 was not heard.
        against_reference: how far WER is from fp32's, clip by clip; None where fp32 was not heard.
        baseline: what is stored; None where there is nothing.
        baseline_error: why what is stored cannot be read.
        shortened: whether it was timed on a part of its clips, and had no reason to hear the others.
        measured_as: id of the row of the same steps whose measurement this is; empty where it was measured itself.
        verdicts: by what was judged: ``effect``, ``speed``, ``seconds``, ``accuracy``, ``profile``, ``throughput``,
            ``usable``.
        failed: by what was judged red in a test, the reason that this test's marker ``xfail`` gives; empty without one.
        finished_s: seconds from the start of the run to this row's last verdict.
    """

    variant: Variant
    device: str
    is_reference: bool
    corpus: Corpus
    normalizer: Normalizer
    scored: bool = True
    report: BuildReport | None = None
    crash: str = ""
    speed_crash: str = ""
    batch_crash: str = ""
    transcripts: dict[str, Transcript] = field(default_factory=dict)
    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    processes: list[int] = field(default_factory=list)
    occasions: list[int] = field(default_factory=list)
    timed: bool = False
    disturbance: Disturbance | None = None
    gpu: State | None = None
    driver_mib: float | None = None
    usage: Usage | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)
    throughput: Throughput | None = None
    usable: bool | None = None
    against_reference: Shift | None = None
    baseline: Baseline | None = None
    baseline_error: str = ""
    shortened: bool = False
    measured_as: str = ""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    finished_s: float | None = None

    @property
    def id(self) -> str:
        """The test id."""
        return row_id(self.variant, self.device)

    @property
    def excused(self) -> str:
        """Why the run does not fail of this row's red verdicts; empty where it does."""
        reasons = list(dict.fromkeys(self.failed.values()))
        return "; ".join(reasons) if all(reasons) else ""

    def take_over(self, twin: Row) -> None:
        """Take the measurement of a row of the same steps for one's own; verdicts are not taken, baselines differ."""
        self.measured_as = twin.id
        for name in _MEASURED:
            setattr(self, name, getattr(twin, name))

    @property
    def word(self) -> Word:
        """The worst of the verdicts."""
        return verdict.worst(self.verdicts.values())

    @property
    def against_baseline(self) -> Word:
        """The same without what no baseline holds."""
        return verdict.worst(said for what, said in self.verdicts.items() if what not in verdict.OF_NO_BASELINE)

    @property
    def complete(self) -> bool:
        """Whether every clip was transcribed."""
        return len(self.transcripts) == len(self.corpus.clips)

    @property
    def seconds(self) -> float | None:
        """Mean seconds per audio; None where not every clip was timed."""
        if not self.timed:
            return None
        return sum(said.seconds for said in self.transcripts.values()) / len(self.transcripts)

    @property
    def parts(self) -> dict[str, float] | None:
        """Mean seconds per audio by part, see ``Transcript.parts``; None where not every clip was timed."""
        if not self.timed:
            return None
        said = self.transcripts.values()
        return {name: sum(each.parts[name] for each in said) / len(said) for name in PARTS}

    @property
    def work(self) -> dict[str, Any] | None:
        """What a clip takes at least, mean over the clips that were heard; None where it is not known.

        ``encoder_gflop`` and ``token_mib`` as in ``roofline.Work``, ``passes`` of the decoder, types of ``products``.
        """
        said = self.transcripts.values()
        if self.report is None or (work := self.report.work) is None or not said or not all(s.positions for s in said):
            return None
        kernels, census = self.report.kernels, self.report.census
        return {
            "encoder_gflop": sum(work.encoder_gflop(each.positions) for each in said) / len(said),
            "token_mib": sum(work.token_mib(each.positions) for each in said) / len(said),
            # The last one ends the text, unless that is cut off.
            "passes": sum(each.tokens + self.scored for each in said) / len(said),
            "products": roofline.product_types(kernels, census["dtypes"], census.get("float32", "highest")),
        }

    @property
    def timing(self) -> Timing:
        """What was timed beside fp32; nothing for fp32 itself and where not every clip was timed."""
        if not self.timed:
            return Timing()
        return timing(self.pairs, effective(self.processes), effective(self.occasions))

    @property
    def ratio(self) -> Interval | None:
        """Times as fast as fp32; None for fp32 itself and where too few clips were timed."""
        ratios = list(self.timing.ratios.values())
        return mean_ratio(ratios) if len(ratios) >= MIN_CLIPS else None

    @property
    def records(self) -> tuple[ClipRecord, ...]:
        """What was said, clip by clip, in the corpus's order, with its edits after normalisation."""
        return tuple(
            ClipRecord(clip.id, clip.fingerprint, said.text, said.tokens, self._count(clip.text, said.text))
            for clip in self.corpus.clips
            if (said := self.transcripts.get(clip.id)) is not None
        )

    @property
    def counts(self) -> Counts:
        """Edits over all clips, normalised."""
        return score.total(record.counts for record in self.records)

    @property
    def raw_counts(self) -> Counts:
        """The same on the texts as they are."""
        return score.total(
            score.count(clip.text, said.text)
            for clip in self.corpus.clips
            if (said := self.transcripts.get(clip.id)) is not None
        )

    def counts_of(self, said: Mapping[str, Transcript]) -> Counts | None:
        """What another variant's transcripts would count; None where it was not heard on every clip."""
        if any(clip.id not in said for clip in self.corpus.clips):
            return None
        return score.total(self.clip_counts_of(said).values())

    def clip_counts_of(self, said: Mapping[str, Transcript]) -> dict[str, Counts]:
        """The same clip by clip, by id."""
        return {clip.id: self._count(clip.text, said[clip.id].text) for clip in self.corpus.clips}

    def _count(self, reference: str, hypothesis: str) -> Counts:
        return score.count(self.normalizer.apply(reference), self.normalizer.apply(hypothesis))
