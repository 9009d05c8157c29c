"""Executes a notebook from top to bottom, in a kernel of this interpreter.

Inside the sandbox. Writes `NAME.executed.ipynb` beside the notebook, also after
an error; figures stay in it and become `figure-N.png` as well. The kernel talks
over Unix sockets in a private folder: it needs no network, not even loopback.
"""

import base64
import os
import re
import shutil
import sys
import tempfile

from stockade_result import report, report_exception

INLINE = "module://matplotlib_inline.backend_inline"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
CONFIG = """
c = get_config()
c.HistoryManager.enabled = False
c.InteractiveShellApp.exec_lines = [{set_argv!r}]
"""


def main(arguments):
    """Executes the notebook named first; returns the exit status."""
    name = arguments[0]
    try:
        import ipykernel
        import nbclient
        import nbformat
    except ImportError as error:
        report_exception(error)
        return _fail(
            "`%s` needs nbclient and ipykernel" % name, error, "add `--with nbclient,ipykernel`"
        )
    try:
        notebook = nbformat.read(name, as_version=4)
    except Exception as error:
        return _fail("cannot read the notebook `%s`" % name, _first_line(error), "open and save it with Jupyter")
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language.lower() != "python":
        return _fail("cannot run `%s`" % name, "it is written in `%s`" % language, "give a Python notebook")

    private = tempfile.mkdtemp(prefix="kernel-")
    try:
        client = _client(notebook, arguments, private)
        return _execute(client, notebook, name)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _execute(client, notebook, name):
    import nbclient.exceptions
    import nbformat

    try:
        client.execute()
        status = 0
    except nbclient.exceptions.CellExecutionError as error:
        _report_cell(error)
        _print_trace(notebook)
        status = 1
    except nbclient.exceptions.DeadKernelError:
        status = _fail("`%s` stopped" % name, "its kernel ended before the notebook did", None)
    finally:
        executed = os.path.splitext(name)[0] + ".executed.ipynb"
        nbformat.write(notebook, executed)
    return status


def _client(notebook, arguments, private):
    import jupyter_client.manager
    import nbclient
    from jupyter_client.kernelspec import KernelSpec
    from traitlets import default

    class Manager(jupyter_client.manager.AsyncKernelManager):
        """A kernel of this very interpreter; none need be installed on disk."""

        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
        )

        @default("transport")
        def _transport(self):
            return "ipc"

        @default("connection_file")
        def _connection_file(self):
            return os.path.join(private, "kernel.json")

    class Client(nbclient.NotebookClient):
        """Passes on what cells print while they run, and writes their figures."""

        def output(self, outs, msg, display_id, cell_index):
            out = super().output(outs, msg, display_id, cell_index)
            content = msg["content"]
            if msg["msg_type"] == "stream":
                stream = sys.stderr if content["name"] == "stderr" else sys.stdout
                stream.write(content["text"])
                stream.flush()
            elif "image/png" in content.get("data", {}):
                _write_figure(content["data"]["image/png"])
            return out

    os.environ.update(_kernel_variables(arguments, private))
    return Client(
        notebook,
        kernel_manager_class=Manager,
        kernel_name="python3",
        timeout=None,
        resources={"metadata": {"path": os.getcwd()}},
    )


def _kernel_variables(arguments, private):
    profile = os.path.join(private, "ipython", "profile_default")
    os.makedirs(profile)
    set_argv = "__import__('sys').argv[:] = %r" % arguments
    with open(os.path.join(profile, "ipython_kernel_config.py"), "w") as file:
        file.write(CONFIG.format(set_argv=set_argv))
    return {"IPYTHONDIR": os.path.dirname(profile), "MPLBACKEND": INLINE}


def _write_figure(data):
    number = 1
    while True:
        name = "figure-%d.png" % number
        try:
            with open(name, "xb") as file:
                file.write(base64.b64decode(data))
        except FileExistsError:
            number += 1
            continue
        report(kind="figure", name=name)
        return


def _report_cell(error):
    message = COLOURS.sub("", error.evalue)
    missing = re.match(r"No module named '([^']+)'", message)
    absent = re.search(r"No such file or directory: '([^']+)'", message)
    report(
        kind="exception",
        type=error.ename,
        message=message,
        name=missing and missing.group(1),
        path=absent and absent.group(1),
    )


def _print_trace(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                trace = "\n".join(output.traceback)
    sys.stdout.flush()
    sys.stderr.write((trace if sys.stderr.isatty() else COLOURS.sub("", trace)) + "\n")


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _fail(what, why, next_step):
    lines = ["error: " + what]
    if why:
        lines.append("  why:  %s" % why)
    if next_step:
        lines.append("  next: " + next_step)
    sys.stderr.write("\n".join(lines) + "\n")
    return 1
