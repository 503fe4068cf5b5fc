"""`labelbeam register`: a label set as tables of a lakehouse, Iceberg or Delta: its Parquet files as they are."""
