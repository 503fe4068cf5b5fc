"""The parts that count, for all who read a label set."""

from collections.abc import Mapping
from dataclasses import dataclass

from .log import last_number, read_log
from .part_files import damaged
from .parts import Part, list_parts, part_path, written_parts


@dataclass(frozen=True)
class Damage:
    """A file of a part that counts, and what is wrong with it."""

    stem: str
    path: str
    why: str


def counting_parts(output: str, with_open_job: bool = False) -> dict[str, dict[str, int]]:
    """The parts whose rows count: stem -> table -> bytes, by stem.

    Those that the log names. In a folder without a log, such as a copy of some tables, all finished parts count.

    Args:
      output: an output folder.
      with_open_job: the finished parts of a job that hasn't closed, too. They may repeat images.

    Raises:
      DamagedPartError: if one of their files is missing or hasn't the size that it was written with.
    """
    for last_try in (False, False, True):
        state = read_log(output)
        listed = list_parts(output)
        found = find_damage(output, state.parts, listed)
        if found and (last_try or last_number(output) == state.number):  # else a job has closed since, and deleted them
            raise damaged(found[0].path, found[0].why, output)
        if not found:
            break
    if state.number < 0:
        return {stem: tables for stem, tables in listed.items() if "images" in tables}
    stems = {stem: dict(part.num_bytes) for stem, part in state.parts.items()}
    if with_open_job and state.open_job is not None:
        stems |= {stem: dict(part.num_bytes) for stem, part in state.adopted.items()}
        stems |= written_parts(output, state.open_job)
    return dict(sorted(stems.items()))


def find_damage(output: str, parts: Mapping[str, Part], listed: Mapping[str, Mapping[str, int]]) -> list[Damage]:
    """Files of parts that are missing, or haven't the size that they were written with.

    Args:
      parts: by stem, those that count.
      listed: what is there, as `list_parts` has it.
    """
    found = []
    for stem, part in parts.items():
        for table, num_bytes in part.num_bytes.items():
            there = listed.get(stem, {}).get(table)
            if there != num_bytes:
                why = "no such file" if there is None else f"{there:,} bytes, expected {num_bytes:,}"
                found.append(Damage(stem, part_path(output, table, stem), why))
    return found
