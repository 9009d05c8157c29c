"""Runs a file of SQL with DuckDB over the files that lie in the working folder.

Inside the sandbox. Every data file is a view named after it; each result is
printed as a table, the last one is also written to `result.csv`, unless such a
file exists. No extension is ever fetched. `Session` does so again and again, over one
connection.
"""

import os
import re
import select
import signal
import sys
import threading

from stockade_result import report_exception

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json_auto",
    ".jsonl": "read_json_auto",
    ".ndjson": "read_json_auto",
}
ARROW = (".arrow", ".feather", ".ipc")
FILES_MAX = 1000
ROWS_SHOWN_MAX = 40
RESULT = "result.csv"
PARTIAL = ".stockade.result"
TABLE = "stockade_result"
SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Else a table name that is missing would be looked for among our variables.
    "python_enable_replacements": "false",
}
# A script that says one of these wants to see every view, named in it or not.
CATALOG = re.compile(r"\bshow\b|information_schema|duckdb_|pragma|sqlite_master", re.I)
# What begins so is a SELECT to DuckDB, yet not every version puts it into a table.
DESCRIPTION = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:show|desc|describe|summarize|pragma)\b", re.I | re.S)


def main(arguments):
    """Runs the file named first; returns the exit status."""
    name = arguments[0]
    try:
        connection = _connect()
    except ImportError as error:
        report_exception(error)
        return _fail("`%s` needs duckdb" % name, "the environment has no duckdb", "add `--with duckdb`")
    try:
        with open(name, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        return _fail("cannot read `%s`" % name, error, "give a text file in UTF-8")

    views = list(_name_views(_data_files()))
    for view, path in views:
        if _is_named(view, path, text):
            _make_view(connection, view, path)
    try:
        last = _run(connection, name, text)
        if last is not None:
            _write(last)
    except _Stopped as stopped:
        return _fail_at(stopped, name, views)
    return 0


# As a shell tells that an interrupt ended something.
INTERRUPTED = 130


class Session:
    """One connection, whose tables, views and settings stay."""

    def __init__(self):
        self.connection = None
        self.views = {}  # ours: the file as it was, and the view's text
        self.result = None  # the file of results, as we left it
        self.was_interrupted = self.is_interruptible = False

    def interrupt(self, number, frame):
        """What an interrupt does, as soon as Python may do something."""
        self.was_interrupted = True
        if self.is_interruptible:
            self.is_interruptible = False
            raise KeyboardInterrupt

    def execute(self, source, name):
        """A script of SQL. Says with which status it ends."""
        watcher = None
        try:
            if self.connection is None:
                self.connection = _connect()
            watcher = _Watcher(self.connection)
            self.is_interruptible = True
            status = self._execute(source, name)
        except ImportError as error:
            report_exception(error)
            what, why = "`%s` needs duckdb" % name, "the environment has no duckdb"
            return _fail(what, why, "open a session without `environment`, or build one with duckdb in it")
        except KeyboardInterrupt:
            status = INTERRUPTED
        finally:
            self.is_interruptible = False
            if watcher is not None:
                watcher.end()
        if self.was_interrupted:
            self.was_interrupted = False
            status = INTERRUPTED
            _fail("`%s` was interrupted" % name, None, None)
        return status

    def _execute(self, source, name):
        try:
            text = source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return _fail("cannot read `%s`" % name, error, "send text in UTF-8")
        views = list(_name_views(self._files()))
        try:
            for view, path in views:
                if _is_named(view, path, text):
                    self._see(view, path)
            last = _run(self.connection, name, text, lambda: self.was_interrupted)
            if last is not None:
                self._write(last)
        except _Stopped as stopped:
            return INTERRUPTED if self.was_interrupted else _fail_at(stopped, name, views)
        except Exception as error:
            report_exception(error)
            return _fail("`%s` has no result" % name, error, None)
        return 0

    def _files(self):
        return [path for path in _data_files() if path != RESULT or _stamp(path) != self.result]

    def _see(self, view, path):
        """Makes a file's view, and again when the file has changed; what the code made itself is left alone."""
        stamp, (before, text) = _stamp(path), self.views.get(view, (None, None))
        there = self._text_of(view)
        if there is None or (there == text and stamp != before):
            _make_view(self.connection, view, path)
            self.views[view] = stamp, self._text_of(view)

    def _text_of(self, name):
        """What a table or view of this name was made by; None if there is none."""
        query = "SELECT sql FROM duckdb_views() WHERE lower(view_name) = lower($1) UNION ALL "
        query += "SELECT coalesce(sql, '') FROM duckdb_tables() WHERE lower(table_name) = lower($1)"
        try:
            found = self.connection.execute(query, [name]).fetchall()
        except Exception:
            return ""  # in a transaction that has failed nothing can be asked
        return found[0][0] if found else None

    def _write(self, last):
        """The file of the last result is replaced by the next one, but never a file of the code's."""
        if os.path.lexists(RESULT) and _stamp(RESULT) != self.result:
            _keep_result()
            return
        try:
            last.write_csv(PARTIAL, header=True)
            self.result = _stamp(PARTIAL)
            os.rename(PARTIAL, RESULT)
        except BaseException:
            # Interrupted, or the scratch is full: the one before stays.
            self.result = _stamp(RESULT)
            if os.path.lexists(PARTIAL):
                os.unlink(PARTIAL)
            raise


class _Watcher:
    """Ends queries as soon as there is an interrupt: Python hears of it only where DuckDB lets it."""

    def __init__(self, connection):
        near, self.far = os.pipe()
        os.set_blocking(self.far, False)
        self.thread = threading.Thread(target=self._watch, args=(near, connection), daemon=True)
        self.thread.start()
        signal.set_wakeup_fd(self.far, warn_on_full_buffer=False)

    def _watch(self, near, connection):
        pause = None
        while not select.select([near], [], [], pause)[0] or os.read(near, 64):
            connection.interrupt()
            # Again and again: one that comes between two queries ends neither.
            pause = 0.05
        os.close(near)

    def end(self):
        """Not one moment later, or it would be the next query that is ended."""
        signal.set_wakeup_fd(-1)
        os.close(self.far)
        self.thread.join()


def _stamp(path):
    """What changes with a file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _connect():
    import duckdb

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return duckdb.connect(":memory:", config=_settings())


def _is_named(view, path, text):
    return CATALOG.search(text) or view.casefold() in text.casefold() or path in text


class _Stopped(Exception):
    def __init__(self, line, error):
        super().__init__(line, error)
        self.line, self.error = line, error


def _fail_at(stopped, name, views):
    report_exception(stopped.error)
    sys.stdout.flush()
    given = ", ".join(view for view, _ in views[:20])
    return _fail(
        "`%s` line %d: %s" % (name, stopped.line, stopped.error),
        None,
        "the files given are the tables " + given if given and _is_about_a_table(stopped) else None,
    )


def _is_about_a_table(stopped):
    return type(stopped.error).__name__ == "CatalogException"


def _fail(what, why, next_step):
    lines = ["error: " + what]
    if why:
        lines.append("  why:  %s" % why)
    if next_step:
        lines.append("  next: " + next_step)
    sys.stderr.write("\n".join(lines) + "\n")
    return 1


def _settings():
    settings = dict(SETTINGS, temp_directory=os.environ.get("TMPDIR", "/tmp"))
    settings["threads"] = str(len(os.sched_getaffinity(0)))
    return settings


def _data_files():
    """Paths below the working folder that hold tables, in a fixed order."""
    found = []
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            kind = os.path.splitext(name)[1].lower()
            if name.startswith(".") or (kind not in READERS and kind not in ARROW):
                continue
            if len(found) == FILES_MAX:
                sys.stderr.write(
                    "note: only the first %d data files have a view; read others by their path\n"
                    % FILES_MAX
                )
                return found
            found.append(os.path.relpath(os.path.join(folder, name)))
    return found


def _name_views(paths):
    taken = {}
    for path in paths:
        stem, kind = os.path.splitext(path)
        wanted = view = _identifier(stem)
        tries = 1
        while view.casefold() in taken:
            view = wanted + "_" + kind[1:].lower() + ("_%d" % tries if tries > 1 else "")
            tries += 1
        if view != wanted:
            other = taken[wanted.casefold()]
            sys.stderr.write(
                "note: `%s` is the table `%s`, since `%s` is `%s`\n" % (path, view, other, wanted)
            )
        taken[view.casefold()] = path
        yield view, path


def _identifier(stem):
    name = "".join(char if char.isalnum() else "_" for char in stem)
    return "_" + name if name[:1].isdigit() else name


def _make_view(connection, view, path):
    kind = os.path.splitext(path)[1].lower()
    try:
        if kind in ARROW:
            table = _arrow_table(path)
            connection.register(view, table)
            connection.register(path, table)  # for FROM 'sales.arrow'
        else:
            connection.execute(
                "CREATE OR REPLACE VIEW %s AS FROM %s(%s)" % (_quoted(view, '"'), READERS[kind], _quoted(path, "'"))
            )
    except ImportError:
        sys.stderr.write("note: `%s` has no view: reading it needs pyarrow; add `--with pyarrow`\n" % path)
    except Exception as error:
        sys.stderr.write("note: `%s` has no view: %s\n" % (path, error))


def _arrow_table(path):
    import pyarrow

    try:
        return pyarrow.ipc.open_file(pyarrow.memory_map(path)).read_all()
    except pyarrow.ArrowInvalid:
        pass
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(path)).read_all()
    except pyarrow.ArrowInvalid:
        import pyarrow.feather

        return pyarrow.feather.read_table(path)


def _quoted(text, mark):
    return mark + text.replace(mark, mark * 2) + mark


def _run(connection, name, text, is_over=lambda: False):
    """Runs every statement until it is over; returns the last result."""
    last = None
    statements = list(_statements(connection, text))
    selects = [statement for _, statement in statements if _is(statement, "SELECT")]
    for line, statement in statements:
        if is_over():
            break
        try:
            result = _result(connection, statement)
            if result is not None:
                _show(result, statement)
                if not _is(statement, "EXPLAIN"):
                    last = result
                if statement in selects[:-1]:
                    connection.execute("DROP TABLE IF EXISTS " + TABLE)  # else SHOW TABLES has it
        except Exception as error:
            raise _Stopped(line + _line_within(error, statement.query), error)
    return last


def _statements(connection, text):
    try:
        statements = connection.extract_statements(text)
    except Exception as error:
        raise _Stopped(1 + _line_within(error), error)
    position = 0
    for statement in statements:
        # Some versions keep the blank lines in front of a statement, and count them.
        start = max(text.find(statement.query, position), position)
        position = start + len(statement.query)
        yield text.count("\n", 0, start) + 1, statement


def _line_within(error, query=""):
    match = re.search(r"^LINE (\d+):", str(error), re.M)
    blank = query[: len(query) - len(query.lstrip())]
    return int(match.group(1)) - 1 if match else blank.count("\n")


def _is(statement, *kinds):
    return str(statement.type).rpartition(".")[2] in kinds


def _result(connection, statement):
    """Runs a statement once; its rows, or None if it has none to show."""
    if _is(statement, "SELECT") and not _is_about_tables(statement.query):
        # Kept in a table: a relation would be computed again to be written.
        connection.execute("CREATE OR REPLACE TEMP TABLE %s AS %s" % (TABLE, statement.query))
        return connection.table(TABLE)
    result = connection.sql(statement.query)
    is_change = _is(statement, "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "COPY", "CREATE")
    if is_change and "returning" not in statement.query.lower():
        return None
    return result


def _is_about_tables(query):
    """Whether it would find our own table among the others, or cannot be put into one."""
    return CATALOG.search(query) or DESCRIPTION.match(query)


def _show(result, statement):
    if _is(statement, "EXPLAIN"):
        print("\n".join(str(row[-1]) for row in result.fetchall()))
    else:
        result.show(max_rows=ROWS_SHOWN_MAX)
    # The next statement may take long.
    sys.stdout.flush()


def _write(result):
    if os.path.lexists(RESULT):
        _keep_result()
        return
    result.write_csv(RESULT, header=True)


def _keep_result():
    sys.stderr.write("note: `%s` exists and is kept; the last result was not written\n" % RESULT)
