"""One built variant in a process of its own.

The main process holds a ``Worker``; the other one, which ``processes`` starts, runs ``serve.serve``. A process of its
own means that peak memory is the variant's, threads are set once, nothing leaks into the next variant, and a crash, an
OOM kill or a hang ends that one variant and not the run.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lxbench.corpus import Clip
from lxbench.errors import LxbenchError
from lxbench.transcribe import Transcript
from lxbench.worker import processes
from lxbench.worker.build import BuildReport
from lxbench.worker.profile import Profile
from lxbench.worker.serve import Job, Usage


class CrashError(LxbenchError):
    """A variant that died, hung or raised; the message has its reason and its last words."""


class Worker:
    """The main process's hold on one variant.

    Attributes:
        pid: process id of the worker.
        waited: seconds this process has waited for the worker: all that is not the harness itself.
        transcribing: seconds of them in which the worker transcribed clips of the run.
    """

    def __init__(self, job: Job, build_limit_s: float, clip_limit_s: float) -> None:
        self.job = job
        self.waited = self.transcribing = self._looking = 0.0
        self._report: BuildReport | None = None
        self._crashed: CrashError | None = None
        self._limits = {"building": build_limit_s, "transcribing": clip_limit_s}
        start = time.perf_counter()
        self._process, self._connection = processes.start(job)
        self.pid, self._stopped = self._process.pid, False
        self.waited += time.perf_counter() - start

    @property
    def warming_up(self) -> float:
        """Seconds of ``waited`` in which it transcribed a clip to be warm, compilation left out."""
        return 0.0 if self._report is None else self._report.heard_s

    @property
    def building(self) -> float:
        """Seconds of ``waited`` that the steps of the variant took, its compilation and the look at its kernels."""
        if self._report is None:
            return 0.0
        return self._report.seconds["steps"] + self._report.seconds["warm-up"] - self._report.heard_s + self._looking

    @property
    def crashed(self) -> bool:
        """Whether it died, hung or raised."""
        return self._crashed is not None

    def ready(self, stage: Callable[[str], None]) -> BuildReport:
        """Have the variant built and warmed up, and wait for it; asked again, answer the same at once.

        Until then its process has imported what it needs, and waits.

        Args:
            stage: told what begins.

        Raises:
            CrashError: it died, hung or raised on the way.
        """
        if self._report is None:
            with suppress(OSError):  # It has died: of what is in its answer.
                self._connection.send(("build", None))
        while self._report is None:
            kind, value = self._answer("building")
            if kind == "stage":
                stage(value)
            else:
                self._report = value
        return self._report

    def prepare(self, clip: Clip) -> None:
        """Have the worker decode the audio of the next clip; not timed."""
        self._ask(("prepare", clip.path))

    def transcribe(self) -> Transcript:
        """Transcribe the prepared clip.

        Raises:
            CrashError: it died, hung or raised.
        """
        with self._transcribing():
            transcript: Transcript = self._ask(("transcribe", None))
        return transcript

    def transcribe_batch(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Transcribe clips at once, within the limit of a clip for each; the seconds of each are its share.

        Raises:
            CrashError: it died, hung or raised.
        """
        with self._transcribing():
            transcripts: list[Transcript] = self._ask(("batch", [clip.path for clip in clips]), len(clips))
        return transcripts

    def usage(self) -> Usage:
        """What the worker has used and said since it was warm."""
        usage: Usage = self._ask(("usage", None))
        return usage

    def kernels(self) -> dict[str, int]:
        """Which kernels run, see ``build.kernels``; nothing should be timed in this process any more."""
        before = self.waited
        seen: dict[str, int] = self._ask(("kernels", None))
        self._looking += self.waited - before
        return seen

    def peaks(self) -> dict[str, float]:
        """What the machine can do, see ``roofline.peaks``."""
        peaks: dict[str, float] = self._ask(("peaks", None))
        return peaks

    def profile(self, stem: Path) -> dict[str, Profile]:
        """Profile the prepared clip, see ``profile.take``."""
        profiles: dict[str, Profile] = self._ask(("profile", stem))
        return profiles

    def stop(self) -> None:
        """End the worker, whatever it is doing, and give back what it held of this process."""
        if self._stopped:
            return
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()  # A run of a thousand clips has some hundred workers, with two open files each.
        self._stopped = True

    @contextmanager
    def _transcribing(self) -> Iterator[None]:
        before = self.waited
        try:
            yield
        finally:
            self.transcribing += self.waited - before

    def _ask(self, request: tuple[str, Any], clips: int = 1) -> Any:
        self._send(request)
        return self._answer("transcribing", clips)[1]

    def _send(self, request: tuple[str, Any]) -> None:
        if self._crashed is not None:
            raise self._crashed
        start = time.perf_counter()
        try:
            self._connection.send(request)  # The worker begins before this returns.
        except (BrokenPipeError, OSError):
            raise self._died("being asked") from None
        finally:
            self.waited += time.perf_counter() - start

    def _answer(self, doing: str, times: int = 1) -> tuple[str, Any]:
        if self._crashed is not None:
            raise self._crashed
        start, limit = time.perf_counter(), times * self._limits[doing]
        try:
            if not self._connection.poll(limit):
                self.stop()
                raise self._crash(f"no answer within {limit:g} s while {doing}")
            kind, value = self._connection.recv()
        except (EOFError, OSError):  # The latter of one that died in the middle of a word.
            raise self._died(doing) from None
        finally:
            self.waited += time.perf_counter() - start
        if kind == "raised":
            self.stop()
            raise self._crash(f"raised while {doing}: {value}")
        return kind, value

    def _died(self, doing: str) -> CrashError:
        if self._stopped:
            return self._crash(f"the worker had been ended before {doing}")
        self._process.join(5)
        code = self._process.exitcode
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
            how += ", as the kernel does when memory runs out" if -code == signal.SIGKILL else ""
        else:
            how = f"exited with code {code}"
        self.stop()
        return self._crash(f"the worker {how} while {doing}")

    def _crash(self, reason: str) -> CrashError:
        words = _tail(self.job.log)
        last = f"; last words:\n    {words}" if words else ""
        self._crashed = CrashError(
            f"{reason}{last}",
            expected="a worker that answers",
            command=f"less {shlex.quote(str(self.job.log))}",
        )
        return self._crashed


def _tail(log: Path, lines: int = 3) -> str:
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n    ".join([line for line in text.splitlines() if line.strip()][-lines:])
