"""Teachers that stay: what is asked of which replica, and what is read from the store instead."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from teachers.engines.protocol import TeacherError
from teachers.inference.notes import Notes
from teachers.inference.resident_teachers import ResidentTeachers, TeacherReplicas
from teachers.inference.store import Row, content_key
from teachers.records import SAMPLES

pytestmark = pytest.mark.usefixtures("ray_cluster")


@ray.remote(num_cpus=0)
class Replica:
    """Says its name."""

    def __init__(self, name: str, notes: str | None = None) -> None:
        self._name, self._notes = name, notes

    def make(self, rows: list[Row]) -> list[Row]:
        if self._notes:
            Notes(self._notes).write("failure", "no weights")
            raise TeacherError("no weights")
        return [{"key": row["key"], "text": self._name, "truncated": False, "error": None} for row in rows]


def standing(tmp_path: Path, name: str, replicas: list[Any]) -> TeacherReplicas:
    return TeacherReplicas(str(tmp_path / name), str(tmp_path / "notes" / name), replicas)


def keys(*names: str) -> list[Row]:
    return [{"key": content_key(name)} for name in names]


def test_a_replica_that_waits_for_room_is_not_asked(tmp_path: Path) -> None:
    waits = Replica.options(num_cpus=1000).remote("waits")  # type: ignore[attr-defined]
    works = Replica.remote("works")  # type: ignore[attr-defined]
    teachers = ResidentTeachers({"one": standing(tmp_path, "one", [waits, works])})
    for _ in range(5):
        [row] = teachers.make({"one": keys("a")})["one"]
        assert row["text"] == "works"


def test_where_a_replica_is_lost_another_is_asked(tmp_path: Path) -> None:
    replicas = [Replica.options(max_restarts=-1).remote(name) for name in ("one", "two")]  # type: ignore[attr-defined]
    teachers = ResidentTeachers({"both": standing(tmp_path, "both", replicas)})
    writers = set()
    while writers != {"one", "two"}:
        writers |= {row["text"] for row in teachers.make({"both": keys("a")})["both"]}
    ray.kill(replicas[0])  # for good, though it may answer for a moment yet
    with pytest.raises(ray.exceptions.RayActorError):
        while ray.get(replicas[0].make.remote(keys("a"))):
            pass
    assert {teachers.make({"both": keys("a")})["both"][0]["text"] for _ in range(5)} == {"two"}
    ray.kill(replicas[1], no_restart=False)
    assert teachers.make({"both": keys("a")})["both"][0]["text"] == "two"


def test_what_was_made_of_the_same_rows_is_read_from_the_store(tmp_path: Path) -> None:
    names = [Replica.remote(name) for name in ("one", "two")]  # type: ignore[attr-defined]
    teachers = ResidentTeachers(
        {name: standing(tmp_path, name, [actor]) for name, actor in zip(("one", "two"), names, strict=True)}
    )
    requests = keys("a", "b")
    stored = [{"key": row["key"], "text": "before", "truncated": False, "error": None} for row in requests]
    (tmp_path / "two").mkdir()
    file = tmp_path / "two" / f"{content_key([row['key'] for row in requests])}.parquet"
    pq.write_table(pa.Table.from_pylist(stored, schema=SAMPLES), file)
    made = teachers.make({"one": requests, "two": requests})
    assert [row["text"] for row in made["one"]] == ["one", "one"]
    assert [row["text"] for row in made["two"]] == ["before", "before"]
    file.write_bytes(file.read_bytes()[:-20])  # it was cut off
    assert [row["text"] for row in teachers.make({"two": requests})["two"]] == ["two", "two"]


def test_a_teacher_that_cannot_work_is_named(tmp_path: Path) -> None:
    broken = Replica.remote("one", str(tmp_path / "notes" / "one"))  # type: ignore[attr-defined]
    teachers = ResidentTeachers({"one": standing(tmp_path, "one", [broken])})
    with pytest.raises(TeacherError, match=r"^teachers\.one: no weights$"), teachers.of_failure():
        teachers.make({"one": keys("a")})
