"""Iceberg tables (iceberg.apache.org) in a catalog of pyiceberg's: SQLite beside the tables, or what its own
configuration names.

Iceberg's metadata names the label set's Parquet files where they lie; nothing is copied. A table changes in one
snapshot, so that its readers see one state of the label set or the next.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...storage.errors import UsageError
from ...storage.installation import install_hint
from ...storage.uris import absolute, is_local
from .snapshot import File, Registered, Snapshot, columns_of

try:
    from pyiceberg.catalog import Catalog, load_catalog
    from pyiceberg.exceptions import NoSuchTableError
    from pyiceberg.io.pyarrow import parquet_files_to_data_files
    from pyiceberg.table import Table, TableProperties
except ImportError as error:
    raise UsageError(f"register --to iceberg needs pyiceberg: {install_hint('iceberg')}") from error

_FOLDER = "_iceberg"  # in the output folder: of the catalog that comes without being named
_NOT_IN_PATHS = frozenset("#?%")
_LABEL_SET = "labelbeam.label-set"  # a table's property: whose files it names
_LOG_ENTRY = "labelbeam.log-entry"  # a snapshot's


@dataclass(frozen=True)
class IcebergOptions:
    """Where tables are registered.

    Attributes:
      catalog: a name of pyiceberg's configuration (`~/.pyiceberg.yaml`, `PYICEBERG_CATALOG__…`); None for SQLite in
        the output folder.
      properties: of the catalog, beyond those of the configuration.
      namespace: of the tables.
    """

    catalog: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "labels"


def register_iceberg(snapshot: Snapshot, options: IcebergOptions) -> Iterator[Registered]:
    """Makes each table name the snapshot's files: in one commit, or none if it does already.

    Raises:
      UsageError: if the catalog can't be used, or has a table of this name that isn't this label set's.
    """
    if letters := sorted(_NOT_IN_PATHS & set(_uri(snapshot.output))):
        raise UsageError(
            f"{snapshot.output}: has {' '.join(letters)} in its path, which Iceberg's readers take for parts of a URI; "
            "rename the folder, or register it --to delta"
        )
    catalog = _catalog(snapshot.output, options)
    catalog.create_namespace_if_not_exists(options.namespace)
    for table, files in snapshot.tables.items():
        name = f"{options.namespace}.{table}"
        by_uri = {_uri(file.path): file for file in files.values()}
        added, removed = _update(catalog, name, table, by_uri, snapshot)
        yield Registered(table, name, added, removed, len(files), sum(file.rows for file in files.values()))


def _catalog(output: str, options: IcebergOptions) -> Catalog:
    properties: dict[str, Any] = dict(options.properties)
    if options.catalog is None and "uri" not in properties:
        if not is_local(output):
            raise UsageError(
                f"register {output} --to iceberg: name a catalog, --catalog NAME of pyiceberg's configuration, or one "
                "on this machine: --catalog-property uri=sqlite:////PATH/catalog.db --catalog-property "
                "warehouse=s3://BUCKET/FOLDER"
            )
        folder = Path(absolute(output)) / _FOLDER
        folder.mkdir(exist_ok=True)
        properties |= {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"}
    try:
        return load_catalog(options.catalog or "labelbeam", **properties)
    except Exception as error:  # whatever a catalog's client raises: what is wrong is its configuration
        raise UsageError(f"--catalog {options.catalog}: pyiceberg can't use it: {error}") from error


def _update(catalog: Catalog, name: str, table: str, files: Mapping[str, File], snapshot: Snapshot) -> tuple[int, int]:
    held = _load(catalog, name, snapshot.output)
    present = {} if held is None else {task.file.file_path: task.file for task in held.scan().plan_files()}
    new = [uri for uri in files if uri not in present]
    gone = [file for uri, file in present.items() if uri not in files]
    if held is not None and not new and not gone:
        return 0, 0
    columns = columns_of(table, (files[uri] for uri in new))
    if held is None:
        held = catalog.create_table(name, columns, properties={_LABEL_SET: _uri(snapshot.output)})
    with held.transaction() as transaction:
        with transaction.update_schema() as schema:
            schema.union_by_name(columns)
        # The files know no ids of columns: they are found by name.
        mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
        transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
        update = transaction.update_snapshot(snapshot_properties={_LOG_ENTRY: str(snapshot.number)})
        with update.overwrite() as change:
            for file in gone:
                change.delete_data_file(file)
            for file in parquet_files_to_data_files(held.io, transaction.table_metadata, iter(new)):
                change.append_data_file(file)
    return len(new), len(gone)


def _load(catalog: Catalog, name: str, output: str) -> Table | None:
    try:
        table = catalog.load_table(name)
    except NoSuchTableError:
        return None
    if (owner := table.properties.get(_LABEL_SET)) != _uri(output):
        of = f"of {owner}" if owner else "no label set's"
        raise UsageError(f"{name}: is a table {of}, not of {output}; choose another --namespace")
    return table


def _uri(path: str) -> str:
    return f"file://{absolute(path)}" if is_local(path) else path
