"""Matplotlib backend: a figure that is shown becomes `figure-N.png`.

Inside the sandbox, chosen with MPLBACKEND=module://stockade_figures. Draws as
Agg does. Never overwrites a file that it did not write, and writes no copy of
a figure that the script saved itself and has not changed since.
"""

import os
import sys

import matplotlib
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stockade_result import report

# Where outputs are looked for, wherever the script has gone since.
FOLDER = getattr(sys.modules.get("stockade_state"), "folder", None) or os.getcwd()


class FigureCanvas(FigureCanvasAgg):
    """Agg, which remembers that the script has saved the figure itself."""

    def draw(self):
        # Drawing makes the figure look unchanged, yet no file has the change.
        if self.figure.stale and self.manager is not None:
            self.manager.settled = False
        super().draw()

    def print_figure(self, filename, *args, **kwargs):
        result = super().print_figure(filename, *args, **kwargs)
        if _is_output(filename) and self.manager is not None:
            self.manager.settle()
        return result


class FigureManager(FigureManagerBase):
    """Writes its figure when it is shown, and again when it changed afterwards."""

    def __init__(self, canvas, num):
        super().__init__(canvas, num)
        self.path = None
        self.settled = False
        # In interactive mode a window would appear by itself.
        self.pending = matplotlib.is_interactive()

    def show(self):
        """Not blocking: the first time at once, later changes when it is closed.

        `plt.pause` in a loop shows the same figure hundreds of times.
        """
        if self.path is None:
            self.write()
        else:
            self.pending = True

    def destroy(self):
        if self.pending:
            self.write()
        super().destroy()

    def settle(self):
        """The figure as it is now lies in a file."""
        self.pending, self.settled = False, True
        self.canvas.figure.stale = False

    def write(self):
        if self.settled and not self.canvas.figure.stale:
            self.pending = False
            return
        file = open(self.path, "wb") if self.path else _next_file()
        try:
            with file:
                self.canvas.figure.savefig(file, format="png")
        except BaseException:
            os.unlink(file.name)
            raise
        if self.path is None:
            self.path = file.name
            report(kind="figure", name=os.path.basename(file.name))
        self.settle()


def show(*args, block=None, **kwargs):
    """`plt.show()`: writes every open figure; blocking, it closes them as well."""
    if args:
        block = args[0]
    managers = Gcf.get_all_fig_managers()
    if block is None:
        block = not matplotlib.is_interactive()
    for manager in managers:
        if block:
            manager.write()
        else:
            manager.show()
    if block:
        Gcf.destroy_all()


def new_figure_manager(num, *args, FigureClass=Figure, **kwargs):
    """Part of the interface of a backend."""
    return new_figure_manager_given_figure(num, FigureClass(*args, **kwargs))


def new_figure_manager_given_figure(num, figure):
    """Part of the interface of a backend."""
    return FigureManager(FigureCanvas(figure), num)


def draw_if_interactive():
    """Part of the interface of a backend; there is nothing to draw on."""


FigureCanvas.manager_class = FigureManager


def _is_output(filename):
    if not isinstance(filename, (str, os.PathLike)):
        return False
    path = os.path.realpath(filename)
    return path.startswith(os.path.join(os.path.realpath(FOLDER), ""))


def _next_file():
    number = 1
    while True:
        path = os.path.join(FOLDER, "figure-%d.png" % number)
        try:
            return open(path, "xb")
        except FileExistsError:
            number += 1
