"""Inside a jail without network: take the uv program out of its wheel.

usage: extract_uv.py WHEEL OUTPUT
"""
import shutil
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".data/scripts/uv"))
    with wheel.open(name) as source, open(sys.argv[2], "wb") as output:
        shutil.copyfileobj(source, output, 1 << 20)
