"""The lake as SQL: views over the published hours, and macros that read a book, for DuckDB."""
