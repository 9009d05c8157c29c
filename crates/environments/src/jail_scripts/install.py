# Inside a jail without network: install the verified wheels, then compile them to bytecode. Behind modules.py.
#
# usage: install.py COMPILE_SECONDS PREFIX INSIDE_PREFIX UNPACKED UV_COMMAND...
# What uv unpacked goes before anything else is written: it is linked into the prefix, and counts
# once. Bytecode that packages brought goes too: Python would believe it, whatever the source says.
import shutil
import subprocess

deadline = time.monotonic() + float(sys.argv[1])
prefix, inside_prefix, unpacked, command = sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]

code = subprocess.call(command)
shutil.rmtree(unpacked, ignore_errors=code != 0)
if code:
    sys.exit(code)
for folder, folders, files in os.walk(prefix):
    if "__pycache__" in folders:
        folders.remove("__pycache__")
        shutil.rmtree(os.path.join(folder, "__pycache__"))
compile_modules(prefix, inside_prefix, deadline)
list_standard_library()
