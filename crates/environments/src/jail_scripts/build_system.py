"""Inside a jail without network: hand out the pyproject.toml of a source distribution, if any.

usage: build_system.py SDIST OUTPUT
"""
import sys
import tarfile
import zipfile

BYTES_MAX = 1 << 20


def is_wanted(name):
    return name.count("/") == 1 and name.endswith("/pyproject.toml")


text = b""
if sys.argv[1].endswith(".zip"):
    with zipfile.ZipFile(sys.argv[1]) as archive:
        for name in filter(is_wanted, archive.namelist()):
            with archive.open(name) as file:
                text = file.read(BYTES_MAX)
else:
    with tarfile.open(sys.argv[1]) as archive:
        for member in archive:
            if member.isfile() and is_wanted(member.name):
                text = archive.extractfile(member).read(BYTES_MAX)
                break
with open(sys.argv[2], "wb") as output:
    output.write(text)
