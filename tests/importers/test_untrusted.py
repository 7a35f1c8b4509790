"""Sources come from anywhere: nothing in them is run, and nothing small asks for much."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from kddoctor.errors import RunError, UsageError
from kddoctor.importers import array_files, files
from kddoctor.importers.array_files import read_arrays
from kddoctor.run.yaml_text import parse_foreign_yaml
from tests.importers.sources import brought_in, outputs


class Trap:
    """Unpickling it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".npy", ".npz"])
def test_nothing_is_unpickled(tmp_path, suffix):
    file = tmp_path / f"teacher_logits{suffix}"
    trap = Trap(tmp_path / "sprung")
    if suffix.startswith(".p"):
        torch.save({"teacher_logits": torch.zeros(3), "trap": trap}, file)
    elif suffix == ".npy":
        np.save(file, np.array([trap], object), allow_pickle=True)
    else:
        np.savez(file, teacher_logits=np.array([trap], object))
    with pytest.raises(RunError, match=f"teacher_logits{suffix}: cannot be read as"):
        read_arrays(file)
    assert not (tmp_path / "sprung").exists()


def test_a_bare_pickle_under_another_name_is_not_run(tmp_path):
    (tmp_path / "teacher_logits.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(RunError):
        read_arrays(tmp_path / "teacher_logits.pt")
    assert not (tmp_path / "sprung").exists()


def test_an_npy_whose_header_claims_more_than_it_holds_is_refused(tmp_path):
    (tmp_path / "labels.npy").write_bytes(npy_header((1 << 40,)) + bytes(16))
    with pytest.raises(RunError, match=r"labels.npy: cannot be read as .npy"):
        read_arrays(tmp_path / "labels.npy")


def test_an_npz_member_whose_header_claims_more_than_it_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "dump.npz", "w") as archive:
        archive.writestr("labels.npy", npy_header((1 << 40,)) + bytes(16))
    with pytest.raises(RunError, match=r"labels\.npy claims 4,398,046,511,104 bytes and holds fewer"):
        read_arrays(tmp_path / "dump.npz")


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(array_files, "MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / f"dump{suffix}", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", npy_header((1 << 22,), "|u1") + bytes(1 << 22))
    with pytest.raises(RunError, match="holds more than 0 GiB of arrays"):
        read_arrays(tmp_path / f"dump{suffix}")


def test_a_tensor_that_repeats_one_number_is_counted_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MOST_BYTES", 1 << 20)
    torch.save(torch.zeros(1).expand(1 << 20), tmp_path / "labels.pt")
    assert (tmp_path / "labels.pt").stat().st_size < 1 << 14
    with pytest.raises(RunError, match="holds more than"):
        read_arrays(tmp_path / "labels.pt")


def test_a_parquet_file_that_repeats_one_number_is_counted_whole(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr(array_files, "MOST_BYTES", 1 << 20)
    parquet.write_table(pyarrow.table({"labels": np.zeros(1 << 20, np.int64)}), tmp_path / "dump.parquet")
    assert (tmp_path / "dump.parquet").stat().st_size < 1 << 14
    with pytest.raises(RunError, match="holds more than"):
        read_arrays(tmp_path / "dump.parquet")


@pytest.mark.parametrize("suffix", array_files.READERS)
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04garbage", b"PAR1", bytes(range(256)) * 8])
def test_garbage_is_one_line(tmp_path, suffix, content):
    file = tmp_path / f"dump{suffix}"
    file.write_bytes(content)
    if suffix == ".csv" and content and content.isascii():
        assert read_arrays(file) == {}  # any text is a table without numbers
        return
    with pytest.raises(RunError, match="dump") as error:
        read_arrays(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["trainer_state.json", "hparams.yaml", "teacher_logits.npy"])
def test_a_link_out_of_the_source_is_refused(tmp_path, name):
    source = tmp_path / "source"
    source.mkdir()
    (source / "metrics.csv").write_text("epoch,step,train_loss\n0,1,0.5\n")
    (tmp_path / "secret").write_text("secret: 1")
    (source / name).symlink_to(tmp_path / "secret")
    with pytest.raises(RunError, match=f"{name}: is a link that leaves the run directory"):
        brought_in(source, tmp_path / "run")


def test_a_linked_database_is_refused(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0")
    (source / "mlflow.db").symlink_to(tmp_path / "other.db")
    with pytest.raises(RunError, match=r"mlflow\.db: is a link that leaves"):
        brought_in(source, tmp_path / "run")


@pytest.mark.integrations
def test_a_folder_that_leads_out_of_the_source_is_not_searched(written, tmp_path):
    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    for name, values in outputs().items():
        np.save(outside / f"{name}.npy", values)
    (log,) = (written("wandb") / "wandb").glob("*-first")
    shutil.copytree(log, source)
    shutil.rmtree(source / "files")
    (source / "files").symlink_to(outside)
    run, _ = brought_in(source, tmp_path / "run")
    assert run.splits == ()


def test_linked_folders_are_not_followed(tmp_path):
    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    source.mkdir()
    for name, values in outputs().items():
        np.save(outside / f"{name}.npy", values)
    (source / "val").symlink_to(outside)
    with pytest.raises(UsageError, match="nothing in it is known"):
        brought_in(source, tmp_path / "run")


def test_a_directory_without_end_is_looked_at_for_a_while_only(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_ENTRIES", 50)
    for number in range(200):
        (tmp_path / f"{number:03}").mkdir()
        (tmp_path / f"{number:03}" / "metrics.csv").touch()
    assert 0 < len(files.below(tmp_path, "metrics.csv")) < 50


def test_aliases_and_tags_are_values_and_nothing_more(tmp_path):
    text = f"""
a: &a [1, 2]
b: *a
c: {{<<: &m {{x: 1}}, y: 2}}
d: !join [*a, 3]
e: !!python/tuple [4, 3]
f: !!python/object/apply:os.mkdir ['{tmp_path}/sprung']
g: !import_call {{key: os.mkdir, init: {{args: ['{tmp_path}/sprung']}}}}
"""
    values = parse_foreign_yaml(text, "f.yaml")
    assert (values["b"], values["c"], values["d"], values["e"]) == ([1, 2], {"x": 1, "y": 2}, [[1, 2], 3], [4, 3])
    assert not (tmp_path / "sprung").exists()


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 {k: 1}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 60))]
    with pytest.raises(RunError, match=r"f.yaml: is not valid YAML: too many values"):
        parse_foreign_yaml("\n".join(lines), "f.yaml")


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {<<: *a}"])
def test_an_alias_of_itself_is_refused(text):
    with pytest.raises(RunError, match="an alias inside of what it stands for"):
        parse_foreign_yaml(text, "f.yaml")


def test_control_characters_of_a_source_do_not_reach_the_terminal(tmp_path):
    source = tmp_path / "source\x1b[31m"
    source.mkdir()
    (source / "metrics.csv").write_text("epoch,step,train_loss,\x1b[2J\n0,1,0.5,1\n")
    (source / "hparams.yaml").write_text('"alpha\\e[2J": 1\nalpha: 0.5\noptimizer: "a\\nb"\n')
    _, imported = brought_in(source, tmp_path / "run")
    assert all(line.isprintable() for line in (*imported.said, *imported.left))
    assert "\x1b" not in (tmp_path / "run/kd_run.yaml").read_text()
