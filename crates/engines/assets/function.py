# A Spotfire data function: the public `spotfire` package reads its inputs, runs its script and writes its outputs, all
# of it as SBDF; other formats are read and written around that. Nothing here is believed outside: a script may replace
# every line of it, and can claim no more by that than its own outputs, which are files.
import json
import os
import sys
import tempfile

sys.path.pop(0)  # ours


def stop(what, why, next_):
    sys.stderr.write(f"error: {what}\n  why:  {why}\n  next: {next_}\n")
    sys.exit(1)


def read(path, kind):
    if kind == "csv":
        import pandas

        return pandas.read_csv(path)
    import pyarrow

    if kind == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pandas()
    with pyarrow.memory_map(path) as source:
        try:
            return pyarrow.ipc.open_file(source).read_all().to_pandas()
        except pyarrow.ArrowInvalid:
            source.seek(0)
            return pyarrow.ipc.open_stream(source).read_all().to_pandas()


def write(frame, path, kind):
    if kind == "csv":
        frame.to_csv(path, index=False)
        return
    import pyarrow

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    if kind == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)


def as_sbdf(given, number, folder, sbdf):
    """The SBDF file of an input."""
    name, kind, path = given["name"], given["type"], given["file"]
    if path is not None and not os.path.isfile(path):
        # The library would pass over it in silence.
        stop(f"the input `{name}` is missing", f"there is no {path}", "name a file that is there")
    if path is not None and given["format"] == "sbdf":
        return path
    import pandas

    frame = pandas.DataFrame({name: [given["value"]]}) if path is None else read(path, given["format"])
    if kind != "table" and frame.shape[1] != 1:
        stop(f"the input `{name}` is no {kind}", f"it has {frame.shape[1]} columns", "give a file with one")
    if kind == "value" and len(frame) != 1:
        stop(f"the input `{name}` is no value", f"it has {len(frame)} rows", "give a file with one")
    target = os.path.join(folder, f"in-{number}.sbdf")
    sbdf.export_data(frame, target, default_column_name=name)
    return target


def leave(wanted, path, sbdf):
    """An output in the format that was asked for, in the working folder."""
    name, kind = wanted["name"], wanted["type"]
    if not os.path.isfile(path):
        stop(f"the output `{name}` was not written", "the library left no file", "set it in the script")
    frame = sbdf.import_data(path)
    if kind != "table" and frame.shape[1] != 1:
        stop(f"the output `{name}` is no {kind}", f"it has {frame.shape[1]} columns", "set it to one, or say `table`")
    if kind == "value" and len(frame) != 1:
        stop(f"the output `{name}` is no value", f"it has {len(frame)} rows", "set it to one, or say `column`")
    if wanted["format"] == "sbdf":
        with open(path, "rb") as source, open(wanted["file"], "wb") as target:
            while piece := source.read(1 << 20):
                target.write(piece)
    else:
        write(frame, wanted["file"], wanted["format"])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        function = json.load(file)
    del sys.argv[1:]
    try:
        from spotfire import data_function, sbdf
    except ImportError as error:
        stop("the environment cannot run data functions", error, "have `spotfire` in it, or leave out --environment")
    folder = tempfile.mkdtemp()
    inputs = []
    for number, given in enumerate(function["inputs"]):
        is_null = given["file"] is None and given["value"] is None
        path = "" if is_null else as_sbdf(given, number, folder, sbdf)
        inputs.append(data_function.AnalyticInput(given["name"], "NULL" if is_null else given["type"], path))
    paths = [os.path.join(folder, f"out-{number}.sbdf") for number, _ in enumerate(function["outputs"])]
    outputs = [data_function.AnalyticOutput(one["name"], path) for one, path in zip(function["outputs"], paths)]
    spec = data_function.AnalyticSpec("script", inputs, outputs, function["script"])
    result = spec.evaluate()
    capture = result.get_capture()
    sys.stdout.write(capture.get_stdout() or "")
    if not result.success:
        sys.stderr.write(result.summary or "the data function failed\n")
        sys.exit(1)
    sys.stderr.write(capture.get_stderr() or "")
    for wanted, path in zip(function["outputs"], paths):
        leave(wanted, path, sbdf)


main()
