# Inside a jail without network: compile the modules of a folder that cannot be written. Behind modules.py.
#
# usage: compile.py FOLDER SECONDS
# Writes bytecode below `cache` in the working folder, where FOLDER would have it, and the names of the
# standard library into `stdlib`.
folder, seconds = sys.argv[1:]
compile_modules(folder, folder, time.monotonic() + float(seconds), cache="cache")
list_standard_library()
