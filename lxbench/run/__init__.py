"""One run: the workers and what they said. How it is judged is in ``gate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lxbench import baselines, gpu, score
from lxbench.corpus import SHIPPED, Clip, Corpus
from lxbench.errors import BaselineError
from lxbench.history import Saved
from lxbench.ladder import Ladder, Variant
from lxbench.models import ModelSource
from lxbench.run import disturbance, throughput
from lxbench.run.budget import Budget
from lxbench.run.pairing import Pairing
from lxbench.run.row import Row, row_id
from lxbench.settings import Settings
from lxbench.transcribe import Transcript
from lxbench.worker import CrashError, Worker, processes
from lxbench.worker.build import BuildReport
from lxbench.worker.serve import Job, Usage

_SPAWNED = "a process that was forked did not reach the GPU: every worker was spawned, and imported its libraries anew"
_STRANGE_IDS = "whether other processes were on the GPU is not known: the driver does not name ours, as in a container"


class Watcher(Protocol):
    """Who is told how a run gets on; see ``report.progress``."""

    def stage(self, row: str, text: str) -> None:
        """A row is being built."""

    def clip(self, row: str, number: int, of: int, text: str) -> None:
        """A clip was transcribed."""

    def more(self, row: str, share: float) -> None:
        """So much of a row's clips will be heard once more."""


class Run:
    """Everything of one run that outlives a single test.

    Args:
        settings: what was asked for.
        source: the resolved model.
        corpus: the checked clips.
        calibration: clips that steps may look at.
        rows: the ladder.
        folder: this run's folder under ``results/``.
        watcher: told how it gets on.
        here: this machine, see ``machine.describe``.
        saved: the last run of pytest-benchmark that was saved on this machine, if any.
        comparisons: how many rows will be timed against a baseline: what the run's false alarms are shared by.

    Attributes:
        normalizer: what references and transcripts go through before they are compared.
        rows: what was measured, in order.
        reference_said: what fp32 said in this run, by clip id.
        reference_lately: how many seconds fp32 took beside a row, by clip id, when it was timed so last.
        absent: rows of the ladder that this device lacks, where the whole ladder was asked for.
        notes: remarks for people.
        orphans: baselines that no variant owns, once looked for.
        peaks: what the machine can do, see ``roofline.peaks``; empty where nothing was timed.
        budget: how long undecided rows may be timed further.
        judged_again: ids of the rows whose speed is judged once more when all are measured.
    """

    def __init__(
        self,
        settings: Settings,
        source: ModelSource,
        corpus: Corpus,
        calibration: Corpus,
        rows: Ladder,
        folder: Path,
        watcher: Watcher,
        here: dict[str, Any],
        saved: Saved | None = None,
        comparisons: int = 1,
    ) -> None:
        self.settings, self.source, self.corpus, self.calibration = settings, source, corpus, calibration
        self.ladder, self.folder, self.watcher = rows, folder, watcher
        self.machine, self.saved, self.comparisons = here, saved, comparisons
        self.normalizer = score.normalizer_for(settings.language, settings.normalizer)
        self.rows: list[Row] = []
        self.reference_said: dict[str, Transcript] = {}
        self.reference_lately: dict[str, float] = {}
        self.absent: list[Variant] = []
        self.notes = [*corpus.remarks, *(f"calibration: {remark}" for remark in calibration.remarks)]
        self.orphans: list[Path] = []
        self.peaks: dict[str, float] = {}
        self.budget = Budget()
        self.judged_again: frozenset[str] = frozenset()
        self._reference: Worker | None = None
        self._workers: dict[str, Worker] = {}
        self._pairings: dict[str, Pairing] = {}
        self._every_worker: list[Worker] = []
        self._reports: dict[str, BuildReport] = {}
        self._renewing = False

    def spent(self, what: str) -> float:
        """Seconds spent on workers: ``waited`` for them, of it ``transcribing``, ``warming_up``, ``building``."""
        return float(sum(getattr(worker, what) for worker in self._every_worker))

    def start(self, variant: Variant) -> Row:
        """Build a variant, and start the reference beside it where speed is measured; a crash is kept in the row.

        A row of the same steps as one that this run has measured takes that measurement over.
        """
        corpus = self.corpus.first(variant.clips)
        scored = not self.source.random
        row = Row(variant, self.settings.device, variant is self.ladder[0], corpus, self.normalizer, scored)
        twin = next((each for each in self.rows if each.id != row.id and each.complete and _same_work(row, each)), None)
        self.rows.append(row)
        try:
            row.baseline = baselines.read(self.baseline_path(variant.name))
        except BaselineError as error:
            row.baseline_error = error.happened
        if twin is not None:
            row.take_over(twin)
            self._workers[row.id] = self._workers[twin.id]
            return row
        lost = self._reference is None or self._reference.crashed
        if lost and (self.settings.timing or row.is_reference):
            self._reference = self._spawn(self.ladder[0])
        worker = self._reference if row.is_reference else self._spawn(variant)
        assert worker is not None
        self._workers[row.id] = worker
        with _crash_kept(row):
            row.report = self._ready(worker, row.id)
        return row

    def finish(self, row: Row) -> None:
        """End the worker of a row; the reference lives on beside the next one."""
        if not row.is_reference:
            self._workers[row.id].stop()

    def measure_peaks(self) -> None:
        """Measure what the machine can do, in the reference's process, once all rows are timed."""
        if self.settings.timing and self._reference is not None and any(row.timed for row in self.rows):
            try:
                self.peaks = self._reference.peaks()
            except CrashError as crash:
                self.notes.append(f"what the machine can do was not measured: {crash}")

    def stop(self) -> None:
        """End every worker."""
        for worker in self._every_worker:
            worker.stop()

    def time(self, row: Row, clips: Corpus, paired: int, pedantic: Callable[..., object]) -> None:
        """Transcribe clips under ``benchmark.pedantic``, one round a clip, the reference in alternation.

        Args:
            row: a row that was built.
            clips: the row's, or the first of them; the row then counts as shortened.
            paired: how many of them the reference is timed beside.
            pedantic: of pytest-benchmark's fixture.
        """
        if row.crash or row.measured_as:
            return
        row.shortened, row.corpus = len(clips.clips) < len(row.corpus.clips), clips
        worker = self._workers[row.id]
        reference = None if row.is_reference else self._reference
        pairing = Pairing(worker, reference, row.corpus.clips, self._heard(row), paired, lambda: self._renew(row))
        with self._crash_of_either_kept(row):
            if reference is not None:
                self._ready(reference, row_id(self.ladder[0], row.device))
            before = disturbance.snapshot(self._pids(row))
            with self._watched_gpu(row):
                pedantic(
                    pairing.target,
                    setup=pairing.setup,
                    teardown=pairing.teardown,
                    rounds=len(row.corpus.clips),
                    iterations=1,
                )
            row.usage = self._usage(row)
            row.disturbance = disturbance.between(before, disturbance.snapshot(self._pids(row)))
        row.transcripts, row.pairs = pairing.transcripts, pairing.pairs
        row.processes, row.occasions = pairing.processes, pairing.occasions
        self._pairings[row.id] = pairing
        self._remember_reference(row.transcripts if row.is_reference else pairing.reference_transcripts)
        self.reference_lately = pairing.reference_lately or self.reference_lately
        row.timed = not (row.crash or row.speed_crash)  # Last: a run may be interrupted at any of these lines.

    def time_again(self, row: Row) -> None:
        """Time a block of the row's clips once more beside fp32, for the ratio alone."""
        pairing = self._pairings[row.id]
        with self._crash_of_either_kept(row):
            self.watcher.stage(row.id, "timing once more: not sure yet")
            self.watcher.more(row.id, pairing.block)
            with self._watched_gpu(row):
                pairing.again()
            self.reference_lately = pairing.reference_lately
            row.usage, row.processes = self._usage(row), pairing.processes
            for id in pairing.contradictions:
                self.notes.append(f"{row.id} said something else when it heard clip {id} again")
            pairing.contradictions.clear()

    def transcribe_rest(self, row: Row) -> None:
        """Transcribe the clips that were not timed: all of them where timing is off."""
        worker, heard = self._workers[row.id], self._heard(row)
        with _crash_kept(row):
            for clip in row.corpus.clips:
                if clip.id not in row.transcripts and not row.crash:
                    worker.prepare(clip)
                    row.transcripts[clip.id] = worker.transcribe()
                    heard(clip, row.transcripts[clip.id])
            if row.usage is None and not row.crash:
                row.usage = worker.usage()
        if row.is_reference:
            self._remember_reference(row.transcripts)

    def look_at_kernels(self, row: Row) -> None:
        """See which kernels a row runs, where that was left until all is timed."""
        if row.crash or row.report is None or row.report.kernels:
            return
        self.watcher.stage(row.id, "looking at its kernels")
        with _crash_kept(row):
            row.report.kernels = self._living(row).kernels()

    def transcribe_in_batches(self, row: Row) -> None:
        """Transcribe the clips of a row several at once, after all that is timed one by one.

        That it cannot, as for want of memory, says nothing of one by one: it is no crash of the row.
        """
        worker, size = self._workers[row.id], self.settings.batch
        groups = throughput.batches(row.corpus.clips, size)
        if row.crash or row.throughput:
            return
        try:
            self.watcher.stage(row.id, f"transcribing {size} clips at once")
            # Of another shape: memory is taken, graphs are compiled; on a GPU libraries plan anew for each length.
            for group in groups if self.settings.device == "cuda" else groups[:1]:
                worker.transcribe_batch(group)
            said = {
                clip.id: each
                for group in groups
                for clip, each in zip(group, worker.transcribe_batch(group), strict=True)
            }
            row.throughput = throughput.measured(size, row.corpus.clips, said, row.transcripts)
        except CrashError as crash:
            row.batch_crash = str(crash)

    def profile(self, row: Row) -> None:
        """Profile the first clip, after all that is timed."""
        with _crash_kept(row):
            if not row.crash and not row.profiles:
                worker = self._living(row)
                worker.prepare(row.corpus.clips[0])
                self.watcher.stage(row.id, "profiling")
                row.profiles = worker.profile(self.folder / "profiles" / row.id)

    def _living(self, row: Row) -> Worker:
        """The worker of a row; another one where it has died in batches."""
        if row.batch_crash and self._workers[row.id].crashed:
            self._workers[row.id] = self._spawn(row.variant)
            self._ready(self._workers[row.id], row.id)
        return self._workers[row.id]

    def _renew(self, row: Row) -> tuple[Worker, Worker]:
        """End the processes of a row and of the reference beside it, and start both anew."""
        if not row.timed:  # What is timed again is of workers that are counted already, and have ended.
            row.usage = self._usage(row)
        self._renewing = True
        try:
            for worker in (self._workers[row.id], self._reference):
                assert worker is not None
                worker.stop()
            variant, reference = self._spawn(row.variant), self._spawn(self.ladder[0])
            self._workers[row.id], self._reference = variant, reference
            self._ready(variant, row.id)
            self._ready(reference, row_id(self.ladder[0], row.device))
        finally:
            self._renewing = False
        return variant, reference

    def _ready(self, worker: Worker, id: str) -> BuildReport:
        report = worker.ready(lambda text: self.watcher.stage(id, text))
        return self._reports.setdefault(worker.job.variant, report)

    def _usage(self, row: Row) -> Usage:
        """What all processes of a row have used and said so far."""
        now = self._workers[row.id].usage()
        return now if row.usage is None else row.usage.with_other(now)

    def _pids(self, row: Row) -> list[int]:
        # Once where the row is the reference: what a process has used is taken off what all have.
        pids = {worker.pid for worker in (self._workers[row.id], self._reference) if worker is not None}
        return [pid for pid in pids if pid is not None]

    @contextmanager
    def _watched_gpu(self, row: Row) -> Iterator[None]:
        """Ask the driver of a GPU how it is while it works, and what is on it when it has."""
        if row.device != "cuda":
            yield
            return
        with gpu.watched(lambda: not self._renewing) as during:
            yield
        if row.gpu is None:
            after = gpu.state()
            row.gpu = gpu.joined(during or [after], after)
        elif during:  # A second look takes seconds: it is not asked for once more.
            after = during[-1]
            row.gpu = gpu.joined([row.gpu, *during], after)
        else:
            return
        row.driver_mib = after.processes.get(self._workers[row.id].pid or 0)
        if row.driver_mib is None:  # Ours would be strangers.
            self._note_once(_STRANGE_IDS)
            return
        ours = {worker.pid for worker in self._every_worker if worker.pid is not None}
        said = f"while {row.id} was timed, others were on the GPU: "
        if (strangers := after.others(ours)) and not any(note.startswith(said) for note in self.notes):
            told = ", ".join(f"process {pid} ({mib:.0f} MiB)" for pid, mib in strangers.items())
            self.notes.append(said + told)

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    @contextmanager
    def _crash_of_either_kept(self, row: Row) -> Iterator[None]:
        """Tell a variant that crashed from the reference that crashed beside it."""
        try:
            yield
        except CrashError as crash:
            if self._workers[row.id].crashed:
                row.crash = str(crash)
            else:
                row.speed_crash = f"the reference crashed beside it: {crash}"

    @property
    def baseline_folder(self) -> Path:
        """Where the baselines of this model, corpus and device are."""
        settings = self.settings
        return baselines.folder(settings.baselines, self.source.name, self.corpus.name, settings.device)

    def baseline_path(self, name: str) -> Path:
        """The baseline file of a variant."""
        return self.baseline_folder / f"{name}.json"

    def _spawn(self, variant: Variant) -> Worker:
        job = Job(
            variant=variant.name,
            variants=self.settings.variants,
            folder=self.source.folder,
            device=self.settings.device,
            threads=self.settings.threads,
            language=self.settings.language,
            calibration_language="ru" if self.settings.calibration in SHIPPED else self.settings.language,
            warm_up=self._clip_to_warm_up().path,
            seconds=tuple(clip.seconds for clip in self.corpus.first(variant.clips).clips),
            calibration=tuple(clip.path for clip in self.calibration.clips),
            log=self.folder / "logs" / f"{row_id(variant, self.settings.device)}.log",
            earlier=self._reports.get(variant.name),
        )
        worker = Worker(job, variant.build_limit_s, variant.clip_limit_s)
        self._every_worker.append(worker)
        if processes.spawned_instead(self.settings.device):
            self._note_once(_SPAWNED)
        return worker

    def _clip_to_warm_up(self) -> Clip:
        """The first; on a GPU the one with most to say, for cuDNN plans attention anew for every length of the text."""
        clips = self.corpus.clips
        return max(clips, key=lambda clip: len(clip.text)) if self.settings.device == "cuda" else clips[0]

    def _heard(self, row: Row) -> Callable[[Clip, Transcript], None]:
        numbers = {clip.id: number for number, clip in enumerate(row.corpus.clips, 1)}
        return lambda clip, said: self.watcher.clip(row.id, numbers[clip.id], len(numbers), said.text)

    def _remember_reference(self, said: Mapping[str, Transcript]) -> None:
        """Note where fp32 contradicts what it said earlier in this run: nothing here may be random."""
        for id, transcript in said.items():
            earlier = self.reference_said.setdefault(id, transcript)
            if earlier.text != transcript.text:
                self.notes.append(f"fp32 said two things to clip {id}: {earlier.text!r}, then {transcript.text!r}")


def _same_work(row: Row, other: Row) -> bool:
    return not row.is_reference and not (other.crash or other.speed_crash) and row.variant.same_work(other.variant)


@contextmanager
def _crash_kept(row: Row) -> Iterator[None]:
    try:
        yield
    except CrashError as crash:
        row.crash = str(crash)
