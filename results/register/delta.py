"""Delta tables (delta.io): each of a label set's table folders becomes one, by a `_delta_log` beside its files.

A commit names the files that are added and those that are removed, so that readers see one snapshot or the next.
"""

import json
import time
from collections.abc import Iterator, Mapping

import pyarrow as pa

from ...labelset.parts import job_of
from ...storage.errors import UsageError
from ...storage.stores import options as store_options
from ...storage.uris import is_local, join
from .snapshot import File, Registered, Snapshot, columns_of

try:
    from deltalake import DeltaTable, Schema
    from deltalake.transaction import AddAction, CommitProperties, RemoveAction, create_table_with_add_actions
except ImportError as error:
    from ...storage.installation import install_hint

    raise UsageError(f"register --to delta needs deltalake: {install_hint('delta')}") from error


def register_delta(snapshot: Snapshot) -> Iterator[Registered]:
    """Makes each table's Delta log say what the snapshot holds: in one commit, or none if it says so already.

    Raises:
      UsageError: if a folder holds a Delta table that has files of others.
    """
    for table, files in snapshot.tables.items():
        yield _register(snapshot, table, files)


def _register(snapshot: Snapshot, table: str, files: Mapping[str, File]) -> Registered:
    folder = join(snapshot.output, table)
    options = _options(folder)
    properties = CommitProperties(custom_metadata={"labelbeam.log_entry": str(snapshot.number)})
    if not DeltaTable.is_deltatable(folder, storage_options=options):
        create_table_with_add_actions(
            folder,
            Schema.from_arrow(columns_of(table, files.values())),
            [_added(name, file) for name, file in files.items()],
            name=table,
            storage_options=options,
            commit_properties=properties,
        )
        added, removed = len(files), 0
    else:
        added, removed = _update(DeltaTable(folder, storage_options=options), table, files, properties)
    return Registered(table, folder, added, removed, len(files), sum(file.rows for file in files.values()))


def _update(delta: DeltaTable, table: str, files: Mapping[str, File], properties: CommitProperties) -> tuple[int, int]:
    actions = pa.table(delta.get_add_actions())
    present = {str(action["path"]): int(action["size_bytes"]) for action in actions.to_pylist()}
    if foreign := [name for name in present if not job_of(name.removesuffix(".parquet"))]:
        raise UsageError(f"{delta.table_uri}: its Delta table has files that labelbeam didn't write, as {foreign[0]}")
    new = {name: file for name, file in files.items() if name not in present}
    gone = {name: size for name, size in present.items() if name not in files}
    if not new and not gone:
        return 0, 0
    held = {field.name for field in delta.schema().fields}
    columns = Schema.from_arrow(columns_of(table, new.values()))
    if later := [field for field in columns.fields if field.name not in held]:
        delta.alter.add_columns(later)
    now_ms = time.time_ns() // 1_000_000
    delta.create_write_transaction(
        [
            *(_added(name, file) for name, file in new.items()),
            *(RemoveAction(name, True, now_ms, size, {}) for name, size in gone.items()),
        ],
        mode="append",
        schema=delta.schema(),
        commit_properties=properties,
    )
    return len(new), len(gone)


def _added(name: str, file: File) -> AddAction:
    now_ms = time.time_ns() // 1_000_000
    return AddAction(name, file.num_bytes, {}, now_ms, True, json.dumps({"numRecords": file.rows}))


def _options(folder: str) -> dict[str, str]:
    """Of Delta's store, which is object_store too: the names with the store's prefix."""
    if is_local(folder):
        return {}
    options = store_options.current()
    found = {}
    for prefix, settings in (("aws", options.s3), ("google", options.gcs), ("azure", options.azure)):
        found |= {f"{prefix}_{key}": str(value) for key, value in settings}
    return found | {key: str(value) for key, value in options.client_settings} | {"allow_http": "true"}
