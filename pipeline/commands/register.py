"""`labelbeam register OUT --to iceberg|delta`: a label set as tables of a lakehouse."""

import argparse

from ...results.text import counted
from ...storage.errors import UsageError
from ..arguments.common import add_label_set
from ..streams import say


def add_parser(commands) -> None:
    register = commands.add_parser(
        "register",
        help="a label set as tables of a lakehouse: Iceberg, Delta",
        description="Tells a catalog of Iceberg tables, or Delta logs, which Parquet files the label set consists of.\n"
        "Nothing is copied. Done again after further jobs or `labelbeam repair`, it replaces what was\n"
        "replaced, in one commit a table; docs/lakehouse.md.",
        epilog="examples:\n"
        "  labelbeam register out --to delta\n"
        "  labelbeam register out --to iceberg\n"
        "  labelbeam register s3://bucket/out --to iceberg --catalog prod --namespace vision",
    )
    add_label_set(register)
    register.add_argument("--to", required=True, choices=("iceberg", "delta"), help="the format of the tables")
    iceberg = register.add_argument_group("Iceberg")
    iceberg.add_argument(
        "--catalog",
        metavar="NAME",
        help="of pyiceberg's configuration, REST and Glue among them (default: SQLite in OUT/_iceberg)",
    )
    iceberg.add_argument(
        "--catalog-property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="further properties of the catalog, as pyiceberg names them; may be repeated",
    )
    iceberg.add_argument("--namespace", help="of the tables (default: labels)")
    register.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...results.register.snapshot import take_snapshot

    if args.to == "delta":
        for option in ("catalog", "catalog_property", "namespace"):
            if getattr(args, option):
                raise UsageError(f"--{option.replace('_', '-')}: Delta has none; its tables lie where OUT's do")
        from ...results.register.delta import register_delta

        registered = register_delta(take_snapshot(args.output))
    else:
        from ...results.register.iceberg import IcebergOptions, register_iceberg

        properties = dict(_key_and_value(text) for text in args.catalog_property)
        options = IcebergOptions(args.catalog, properties, args.namespace or IcebergOptions.namespace)
        registered = register_iceberg(take_snapshot(args.output), options)
    for table in registered:
        changed = table.added or table.removed
        change = f"{counted(table.added, 'file')} added, {table.removed:,} removed" if changed else "as it was"
        say(f"{table.name}: {counted(table.rows, 'row')} in {counted(table.files, 'file')} ({change})")
    return 0


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--catalog-property {text}: expected KEY=VALUE, as in uri=sqlite:////tmp/catalog.db")
    return key, value
