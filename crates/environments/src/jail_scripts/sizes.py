"""Inside a jail without network: write what each wheel of a folder takes when it is installed.

usage: sizes.py FOLDER OUTPUT, OUTPUT becoming JSON: {"file name": bytes}.
By the directory of each wheel, in whole pages. A module is counted three times: bytecode is about
as large as its source, now and then twice.
"""
import json
import os
import sys
import zipfile

PAGE = 4096


def taken(member):
    size = -(-member.file_size // PAGE) * PAGE
    return 3 * size if member.filename.endswith(".py") else size


sizes = {}
for name in sorted(os.listdir(sys.argv[1])):
    try:
        with zipfile.ZipFile(os.path.join(sys.argv[1], name)) as wheel:
            sizes[name] = sum(map(taken, wheel.infolist()))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SystemExit(f"{name} is not a wheel: {error}")
with open(sys.argv[2], "w", encoding="utf-8") as output:
    json.dump(sizes, output)
