"""Inside a jail without network: write what each wheel of a folder takes when it is installed.

usage: sizes.py FOLDER OUTPUT, OUTPUT becoming JSON: {"sizes": {"file name": bytes},
"strange": {"file name": "why it is refused"}}. By the directory of each wheel, in whole pages. A module is counted three times: bytecode is about
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


def strangeness(member):
    # Installers drop these or write them elsewhere, without a word.
    name = member.filename
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        return f"its member {name} leads out of the place where it is installed"
    if member.external_attr >> 28 == 0o12:
        return f"its member {name} is a symbolic link"
    return None


sizes, strange = {}, {}
for name in sorted(os.listdir(sys.argv[1])):
    try:
        with zipfile.ZipFile(os.path.join(sys.argv[1], name)) as wheel:
            members = wheel.infolist()
            sizes[name] = sum(map(taken, members))
            for why in filter(None, map(strangeness, members)):
                strange.setdefault(name, why)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SystemExit(f"{name} is not a wheel: {error}")
with open(sys.argv[2], "w", encoding="utf-8") as output:
    json.dump({"sizes": sizes, "strange": strange}, output)
