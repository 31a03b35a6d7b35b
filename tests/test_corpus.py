from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lxbench import corpus, score
from lxbench.errors import CorpusError
from tests.suite import CORPORA


def test_the_embedded_corpus_is_whole() -> None:
    clips = corpus.load("ivr-ru", CORPORA).clips
    assert len(clips) == 96
    assert sum(clip.seconds for clip in clips) == pytest.approx(297, abs=1)
    assert sum(len(score.russian(clip.text).split()) for clip in clips) == 603
    assert "CC-BY 3.0" in (CORPORA / "ivr-ru" / "ATTRIBUTION.md").read_text("utf-8")


def test_the_embedded_corpus_is_the_one_that_baselines_know() -> None:
    assert corpus.load("ivr-ru", CORPORA).fingerprint == "2940d55dc9cd4716"


def test_the_first_clips_are_always_the_same() -> None:
    whole = corpus.load("ivr-ru", CORPORA).clips
    assert corpus.load("ivr-ru", CORPORA, 8).clips == whole[:8]
    assert [clip.id for clip in whole[:3]] == ["conf-placeintoconf", "vm-nonumber", "pbx-invalidpark"]


def test_more_clips_than_there_are_means_all(small_corpus: Path) -> None:
    assert len(corpus.load(str(small_corpus), CORPORA, 1000).clips) == 3


def test_the_order_of_lines_does_not_matter(small_corpus: Path) -> None:
    before = corpus.load(str(small_corpus), CORPORA)
    listing = small_corpus / "metadata.jsonl"
    listing.write_text("\n".join(reversed(listing.read_text("utf-8").splitlines())), "utf-8")
    assert corpus.load(str(small_corpus), CORPORA) == before


def test_the_same_clips_read_from_csv_and_from_a_manifest(small_corpus: Path) -> None:
    wanted = corpus.load(str(small_corpus), CORPORA)
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    manifest = small_corpus / "test.jsonl"
    manifest.write_text(
        "".join(json.dumps({"audio_filepath": row["file_name"], "text": row["transcription"]}) + "\n" for row in rows)
    )
    assert corpus.load(str(manifest), CORPORA).clips == wanted.clips
    (small_corpus / "metadata.jsonl").unlink()
    lines = [f'{row["file_name"]},"{row["transcription"]}"' for row in rows]
    (small_corpus / "metadata.csv").write_text("\n".join(["file_name,transcription", *lines]), "utf-8")
    assert corpus.load(str(small_corpus), CORPORA) == wanted


def test_fingerprints_follow_audio_text_and_order(small_corpus: Path) -> None:
    before = corpus.load(str(small_corpus), CORPORA)
    clip = before.clips[0]
    audio = corpus.read_audio(clip.path).copy()
    audio[100] += 0.25
    soundfile.write(clip.path, audio, 16_000)
    after = corpus.load(str(small_corpus), CORPORA)
    assert after.fingerprint != before.fingerprint
    assert [one.id for one, two in zip(before.clips, after.clips, strict=True) if one != two] == [clip.id]


def broken(folder: Path, kind: str) -> None:
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    file = folder / rows[0]["file_name"]
    speech = corpus.read_audio(file)
    changes = {
        "corrupt": lambda: file.write_bytes(file.read_bytes()[:50] + b"\xff" * 100),
        "not audio": lambda: file.write_text("hello"),
        "gone": file.unlink,
        "empty": lambda: soundfile.write(file, np.zeros(0), 16_000, format="WAV"),
        "silent": lambda: soundfile.write(file, np.zeros(16_000), 16_000),
        "8 kHz": lambda: soundfile.write(file, speech[::2], 8_000),
        "stereo": lambda: soundfile.write(file, np.stack([speech, speech], 1), 16_000),
        "long": lambda: soundfile.write(file, np.resize(speech, 31 * 16_000), 16_000),
        "NaN": lambda: soundfile.write(file, np.full(16_000, np.nan, "float32"), 16_000, "FLOAT", format="WAV"),
        "no text": lambda: rows[0].update(transcription=" "),
    }
    changes[kind]()
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("corrupt", "unreadable audio"),
        ("not audio", "unreadable audio"),
        ("gone", "no file"),
        ("empty", "empty audio"),
        ("silent", "silent audio"),
        ("8 kHz", "8000 Hz with 1 channels, lxbench reads 16 kHz mono"),
        ("stereo", "16000 Hz with 2 channels"),
        ("long", "31.0 s of audio, more than the 30 s of one window"),
        ("NaN", "NaN or infinite samples"),
        ("no text", "empty reference text"),
    ],
)
def test_a_bad_clip_is_named_with_its_line(small_corpus: Path, kind: str, message: str) -> None:
    broken(small_corpus, kind)
    with pytest.raises(CorpusError, match=message) as raised:
        corpus.load(str(small_corpus), CORPORA)
    assert "1 of 3 clips" in str(raised.value)
    assert "metadata.jsonl:1: " in str(raised.value)


def test_all_bad_clips_are_reported_at_once(small_corpus: Path) -> None:
    for file in small_corpus.glob("*.flac"):
        file.write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="3 of 3 clips"):
        corpus.load(str(small_corpus), CORPORA)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"text": "раз"}', "no 'file_name'"),
        ("[]", "no 'file_name'"),
        ('{"file_name": "conf-x.flac"}\n{"file_name": "conf-x.wav"}', "listed twice, first on line 1"),
    ],
)
def test_a_bad_listing_is_refused(small_corpus: Path, line: str, message: str) -> None:
    (small_corpus / "metadata.jsonl").write_text(line, "utf-8")
    with pytest.raises(CorpusError, match=message):
        corpus.load(str(small_corpus), CORPORA)


def test_a_listing_in_another_encoding_is_refused_and_a_mark_is_not(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    wanted = corpus.load(str(small_corpus), CORPORA)
    listing.write_text(listing.read_text("utf-8"), "utf-8-sig")
    assert corpus.load(str(small_corpus), CORPORA) == wanted
    listing.write_bytes('{"file_name": "Привет"}'.encode("cp1251"))
    with pytest.raises(CorpusError, match="is not UTF-8"):
        corpus.load(str(small_corpus), CORPORA)


def test_a_reference_without_words_is_refused(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    rows = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    rows[1]["transcription"] = "…!"
    listing.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    clips = corpus.load(str(small_corpus), CORPORA)
    name = Path(rows[1]["file_name"]).stem
    with pytest.raises(CorpusError, match=f"the reference text of 1 clips of corpus small has no words: {name}"):
        corpus.check_texts(clips, score.russian)


def test_a_missing_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus nowhere is not there: no nowhere"):
        corpus.load("nowhere", CORPORA)
    with pytest.raises(CorpusError, match=r"no metadata\.jsonl or metadata\.csv in"):
        corpus.load(str(tmp_path), CORPORA)


def test_a_corpus_without_clips_is_refused(small_corpus: Path) -> None:
    (small_corpus / "metadata.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="has no clips"):
        corpus.load(str(small_corpus), CORPORA)


def test_clips_in_folders_keep_apart(small_corpus: Path) -> None:
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    for name in ("a", "b"):
        (small_corpus / name).mkdir()
        shutil.copy(small_corpus / rows[0]["file_name"], small_corpus / name / "x.flac")
    lines = [json.dumps({"file_name": f"{name}/x.flac", "transcription": "раз"}) for name in ("a", "b")]
    (small_corpus / "metadata.jsonl").write_text("\n".join(lines))
    assert {clip.id for clip in corpus.load(str(small_corpus), CORPORA).clips} == {"a/x", "b/x"}


def test_recordings_to_calibrate_on_need_no_texts(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    names = [json.loads(line)["file_name"] for line in listing.read_text("utf-8").splitlines()]
    listing.write_text("".join(json.dumps({"file_name": name}) + "\n" for name in names), "utf-8")
    with pytest.raises(CorpusError, match="empty reference text"):
        corpus.load(str(small_corpus), CORPORA)
    assert len(corpus.load(str(small_corpus), CORPORA, texts=False).clips) == 3


def test_no_recording_is_in_two_of_the_shipped_corpora() -> None:
    benchmark, *others = (corpus.load(name, CORPORA) for name in ("ivr-ru", "ivr-ru-calibration", "ivr-ru-selection"))
    for other in others:
        corpus.check_disjoint(other, benchmark)
        assert len(other.clips) == 24
    corpus.check_disjoint(*others)
    with pytest.raises(CorpusError, match="2 clips of the calibration corpus ivr-ru are in the benchmark corpus"):
        corpus.check_disjoint(benchmark.first(2), benchmark)
