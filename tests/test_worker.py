"""A worker on its own: what it answers and what it costs."""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch._dynamo.utils

from lxbench import corpus
from lxbench.run import disturbance
from lxbench.worker import CrashError, Worker, build, processes, serve
from tests.suite import CORPORA, ROOT, Bench
from tests.workers import start


def parent(worker: Worker) -> int:
    return int(Path(f"/proc/{worker.pid}/status").read_text().split("PPid:")[1].split()[0])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = start(tmp_path, "bf16")
    yield worker
    worker.stop()


def test_a_worker_transcribes_and_can_be_killed(worker: Worker) -> None:
    stages: list[str] = []
    report = worker.ready(stages.append)
    assert stages == ["loading", "cast(bfloat16)", "warming up"]
    assert worker.ready(stages.append) is report
    (clip,) = corpus.load("ivr-ru", CORPORA, 1).clips
    said = []
    for _ in range(2):
        worker.prepare(clip)
        said.append(worker.transcribe())
    assert said[0].text == said[1].text != ""
    assert said[0].tokens == said[1].tokens > 0
    assert worker.waited > worker.transcribing + worker.warming_up + worker.building
    assert worker.transcribing > sum(one.seconds for one in said)
    assert worker.building + worker.warming_up == report.seconds["steps"] + report.seconds["warm-up"]
    assert worker.building > report.seconds["steps"]
    assert 0.1 < worker.warming_up < report.seconds["warm-up"]
    assert worker.transcribing == pytest.approx(sum(one.seconds for one in said), abs=0.2)
    # Steady state of a 139 MiB model with torch and transformers in memory, the float32 model forgotten.
    usage = worker.usage()
    assert 400 < usage.peak_mib < 1500
    assert usage.compilations == 0
    assert usage.warnings == ()
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
    assert worker.pid is not None
    os.kill(worker.pid, 9)
    worker_gone = pytest.raises(CrashError, match="killed by SIGKILL")
    with worker_gone:
        worker.prepare(clip)
    with worker_gone:
        worker.transcribe()
    assert worker.crashed


def test_a_batch_has_the_limit_of_a_clip_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Answering:
        def send(self, _: object) -> None: ...

        def poll(self, limit: float) -> bool:
            waited.append(limit)
            return True

        def recv(self) -> tuple[str, list[object]]:
            return "transcripts", []

    monkeypatch.setattr(processes, "start", lambda _: (SimpleNamespace(pid=None), Answering()))
    worker, clips = start(tmp_path, "bf16"), corpus.load("ivr-ru", CORPORA, 3).clips
    worker.transcribe_batch(clips)
    worker.transcribe()
    assert waited == [180, 60]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_an_ended_worker_holds_nothing_of_this_process(tmp_path: Path) -> None:
    """A run of a thousand clips has some hundred workers, and may have open a thousand files."""
    start(tmp_path, "fp32").stop()  # With it come the server, and what stays of it.
    before = open_files()
    for _ in range(3):
        worker = start(tmp_path, "fp32")
        assert open_files() > before
        worker.stop()
        worker.stop()
        with pytest.raises(CrashError, match="the worker had been ended before being asked"):
            worker.transcribe()
    assert open_files() == before


def test_a_worker_that_dies_in_the_middle_of_a_word_has_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = multiprocessing.Pipe()
    died = SimpleNamespace(pid=1, exitcode=-9, join=lambda *_: None, close=lambda: None, is_alive=lambda: False)
    monkeypatch.setattr(processes, "start", lambda _: (died, near))
    worker = start(tmp_path, "bf16")
    os.write(far.fileno(), struct.pack("!i", 100) + b"half")
    far.close()
    with pytest.raises(CrashError, match=r"the worker killed by SIGKILL.* while transcribing"):
        worker._answer("transcribing")


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc")
def test_what_ended_workers_have_used_was_not_used_by_others(tmp_path: Path) -> None:
    (clip,) = corpus.load("ivr-ru", CORPORA, 1).clips
    worker = start(tmp_path, "fp32")
    worker.ready(lambda _: None)
    assert worker.pid is not None
    before = disturbance.snapshot([worker.pid])
    for _ in range(6):
        worker.prepare(clip)
        worker.transcribe()
    worker.stop()
    renewed = start(tmp_path, "fp32")
    try:
        renewed.ready(lambda _: None)
        assert renewed.pid is not None
        others = disturbance.between(before, disturbance.snapshot([renewed.pid])).others
        assert others is not None
        assert others < 0.5
    finally:
        renewed.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_workers_are_forked_from_a_server_that_has_imported_and_done_nothing_else(tmp_path: Path) -> None:
    workers = [start(tmp_path, "fp32") for _ in range(2)]
    try:
        reports = [worker.ready(lambda _: None) for worker in workers]
        servers = {parent(worker) for worker in workers}
        (server,) = servers - {os.getpid()}
        status = Path(f"/proc/{server}/status").read_text()
        assert re.search(r"^Threads:\s+1$", status, re.MULTILINE), "a fork would lose them, and wait for them for ever"
        assert int(status.split("VmRSS:")[1].split()[0]) > 200 * 1024, "torch and transformers are not in memory"
        log = (tmp_path / "logs" / "w.log").read_text()
        assert "torchao" not in log, "known noise of an import, which a worker does not make any more"
        assert reports[0].kernels
        assert [report.kernels for report in reports] == [reports[0].kernels] * 2
        for worker in workers:
            assert worker.usage().warnings == ()
    finally:
        for worker in workers:
            worker.stop()


def test_where_the_server_dies_of_an_import_the_worker_is_spawned(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "main.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom lxbench.worker import processes\nfrom tests import workers\n"
        "if __name__ == '__main__':\n"
        "    processes._PRELOADED = 'dies'\n"
        "    one = workers.start(Path(sys.argv[1]), 'fp32')\n"
        "    print(sorted(one.ready(lambda _: None).seconds))\n"
        "    one.stop()\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent}"}
    command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["['load', 'steps', 'warm-up']"], done.stderr


def test_graphs_of_an_earlier_process_are_told_from_new_ones(tmp_path: Path) -> None:
    script = (
        "import torch; from lxbench.worker import serve; torch.compile(lambda x: x.sin() + 1)(torch.ones(4)); "
        "print(serve._origins())"
    )
    environ = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}

    def found() -> object:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return ast.literal_eval(done.stdout.splitlines()[-1])

    assert [found(), found()] == [{"cached": 0, "new": 1}, {"cached": 1, "new": 0}]


def test_cuda_graphs_that_inductor_left_out_or_recorded_again_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counters: Any = {"stats": Counter(), "inductor": Counter(cudagraph_recorded_non_static_inputs=3)}
    monkeypatch.setattr(torch._dynamo.utils, "counters", counters)
    recorded = build.recorded_inputs()
    assert serve._graph_warnings(recorded) == []
    counters["inductor"].update(cudagraph_skips=2, cudagraph_recorded_non_static_inputs=3)
    assert serve._graph_warnings(recorded) == [
        "Inductor left 2 CUDA graphs out, see TORCH_LOGS=+cudagraphs",
        "Inductor recorded CUDA graphs while clips were timed, see TORCH_LOGS=+cudagraphs",
    ]


def test_its_kernels_can_be_looked_at_later(tmp_path: Path) -> None:
    worker = start(tmp_path, "bf16")
    try:
        report = worker.ready(lambda _: None)
        building = worker.building
        assert "addmm bfloat16" in report.kernels
        assert set(worker.kernels()) == set(report.kernels)
        assert worker.building > building
    finally:
        worker.stop()


def test_two_that_start_at_once_build_one_after_the_other(tmp_path: Path) -> None:
    workers = [start(tmp_path / name, name) for name in ("bf16", "fp32")]
    try:
        alone = sum(workers[0].ready(lambda _: None).seconds.values())
        time.sleep(alone)
        waited = workers[1].waited
        report = workers[1].ready(lambda _: None)
        assert workers[1].waited - waited > sum(report.seconds.values())
    finally:
        for worker in workers:
            worker.stop()


def test_what_a_worker_died_of_before_it_was_to_build_is_told(tmp_path: Path) -> None:
    worker = start(tmp_path / "my runs", "no such row")
    worker._process.join(60)
    assert not worker._process.is_alive()
    with pytest.raises(CrashError, match=r"raised while building: .*no such row") as raised:
        worker.ready(lambda _: None)
    assert raised.value.command == f"less '{worker.job.log}'"


def test_a_later_process_of_a_variant_does_not_look_again(tmp_path: Path) -> None:
    first = start(tmp_path, "fast")
    try:
        found = first.ready(lambda _: None)
        again = Worker(replace(first.job, earlier=found), build_limit_s=120, clip_limit_s=60)
        try:
            report = again.ready(lambda _: None)
            assert replace(report, seconds={}, heard_s=0.0) == replace(found, seconds={}, heard_s=0.0)
            assert report.kernels
            assert report.census["compiled"] == 0
            assert sum(report.seconds.values()) < sum(found.seconds.values())
            (clip,) = corpus.load("ivr-ru", CORPORA, 1).clips
            for worker in (first, again):
                worker.prepare(clip)
            assert again.transcribe().text == first.transcribe().text
        finally:
            again.stop()
    finally:
        first.stop()


def what_it_says(folder: Path, variants: str, environ: dict[str, str]) -> str:
    """The log of a worker of the variant ``told``, from a server of its own."""
    (folder / "variants.py").write_text(variants)
    (folder / "main.py").write_text(
        "from dataclasses import replace\nfrom pathlib import Path\nfrom lxbench.worker import Worker\n"
        "from tests import workers\n"
        "if __name__ == '__main__':\n"
        "    here = Path(__file__).parent\n"
        "    job = replace(workers.job(here, 'told'), variants=str(here / 'variants.py'))\n"
        "    one = Worker(job, build_limit_s=120, clip_limit_s=60)\n"
        "    one.ready(lambda _: None)\n"
        "    print(job.log.read_text())\n"
        "    one.stop()\n"
    )
    paths = os.pathsep.join([environ.get("PYTHONPATH", ""), str(Path(__file__).parent.parent)]).strip(os.pathsep)
    command = [sys.executable, str(folder / "main.py")]
    done = subprocess.run(
        command, env={**os.environ, **environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_ASKS = """
from lxbench.ladder import Variant
from lxbench.steps.precision import cast


def told(model):
    import sys

    print("compiler in memory:", "torch._inductor.compile_fx" in sys.modules)
    from torch._inductor import config, cpu_vec_isa

    from lxbench.families import whisper

    print("passes of others:", config.pre_grad_custom_pass)

    print("tokenizers read:", whisper.tokenizer.cache_info().misses, "in use:", whisper.tokenizer.cache_info().hits)
    print("instruction sets known:", cpu_vec_isa.valid_vec_isa_list.cache_info().currsize, flush=True)
    return cast("bfloat16")(model)


VARIANTS = [Variant("told", ("cpu",), (told,), "tells what its process has")]
"""


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_a_worker_is_born_with_what_every_process_would_ask_for_again(compiled: bool, tmp_path: Path) -> None:
    # What fails in the server is kept from a run, which would only be slower.
    cache = tmp_path / "inductor"
    cache.mkdir()
    if compiled:
        (cache / "something").touch()
    log = what_it_says(tmp_path, _ASKS, {"TORCHINDUCTOR_CACHE_DIR": str(cache)})
    assert "tokenizers read: 1 in use: 1" in log
    assert "compiler in memory: True" in log
    assert "passes of others: None" in log, "what a row is compiled to, and its key, would go by the other rows"
    assert f"instruction sets known: {int(compiled)}" in log


_COMPILES = """
from lxbench.ladder import Variant
from lxbench.steps.precision import cast


def compiles(model):
    import sys

    import torch

    print("compiler in memory:", "torch._inductor.compile_fx" in sys.modules)
    print("torch is in", torch.__file__, "sums to", torch.compile(lambda a: (a + 1).sum())(torch.zeros(999)).item())
    return cast("bfloat16")(model)


VARIANTS = [Variant("told", ("cpu",), (compiles,), "compiles one sum")]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_what_was_compiled_in_one_environment_is_found_from_another(tmp_path: Path) -> None:
    import torch

    cache = tmp_path / "cache"
    places = {"XDG_CACHE_HOME": cache, "TORCHINDUCTOR_CACHE_DIR": cache / "inductor", "TMPDIR": tmp_path / "tmp"}
    # As in a run none of whose rows says that it compiles: somebody's own may do so all the same.
    environ = {**{name: str(place) for name, place in places.items()}, "LXBENCH_IMPORTS": ""}
    (tmp_path / "tmp").mkdir()
    compiled = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "torch").symlink_to(Path(torch.__file__).parent)
        log = what_it_says(tmp_path, _COMPILES, {**environ, "PYTHONPATH": str(tmp_path / name)})
        assert f"torch is in {tmp_path / name}/torch/__init__.py sums to 999.0" in log
        assert "compiler in memory: False" in log
        compiled.append({path for end in ("so", "gch") for path in cache.rglob(f"*.{end}")})
    assert {path.suffix for path in compiled[0]} == {".so", ".gch"}
    assert compiled[1] == compiled[0], "compiled anew: does Inductor name torch's folder in another way?"
    assert not list((tmp_path / "tmp").rglob("*.gch")), "where anybody can write"


@pytest.mark.parametrize(
    ("rows", "imports"),
    [("[fp32-cpu] or [bf16-cpu]", []), ("[fp32-cpu] or [compile-cpu]", ["torch._inductor.compile_fx"])],
)
def test_the_server_is_told_what_the_rows_of_the_run_import(
    rows: str, imports: list[str], bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "told.py").write_text(
        "from lxbench import errors\nfrom lxbench.worker import processes\n"
        "def start_server(device, model, imports):\n"
        "    raise errors.UsageError(f'told {sorted(set(imports))}', expected='', command='')\n"
        "processes.start_server = start_server\n"
    )
    done = bench("-k", rows, "-p", "told", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert f"told {imports}" in done.stderr


def test_the_server_loads_a_model_of_next_to_nothing() -> None:
    # A failure there is kept from a run, which would only be slower.
    done = subprocess.run([sys.executable, "-c", "from lxbench.worker import preload; preload._load_once()"])
    assert done.returncode == 0


def test_what_cannot_be_imported_keeps_nothing_else_from_being() -> None:
    script = "import sys; from lxbench.worker import preload; sys.exit('tabnanny' not in sys.modules)"
    environ = {**os.environ, "LXBENCH_IMPORTS": "not_there tabnanny"}
    assert subprocess.run([sys.executable, "-c", script], env=environ).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_a_server_of_somebody_else_is_left_alone() -> None:
    script = (
        "import os; from multiprocessing import forkserver; from pathlib import Path; "
        "from lxbench.worker import processes; "
        "forkserver.ensure_running(); theirs = forkserver._forkserver._forkserver_pid; "
        "processes.start_server('cpu', Path('model')); processes.stop_server(); os.kill(theirs, 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
