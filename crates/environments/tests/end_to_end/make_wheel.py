"""usage: make_wheel.py FOLDER NAME TAGS MEMBERS, MEMBERS being JSON: [[path, kind, content]...].

Writes NAME-1.0-TAGS.whl. Kinds: `text`, `zeros` (content is their count), `link`.
"""
import json
import os
import sys
import zipfile

folder, name, tags, members = *sys.argv[1:4], json.loads(sys.argv[4])
about = f"{name}-1.0.dist-info"
paths = [path for path, _, _ in members]
with zipfile.ZipFile(os.path.join(folder, f"{name}-1.0-{tags}.whl"), "w", zipfile.ZIP_DEFLATED) as wheel:
    for path, kind, content in members:
        member = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = (0o120777 if kind == "link" else 0o100644) << 16
        with wheel.open(member, "w") as output:
            if kind == "zeros":
                for _ in range(content >> 20):
                    output.write(bytes(1 << 20))
            else:
                output.write(content.encode())
    wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    wheel.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tags}\n")
    wheel.writestr(f"{about}/RECORD", "".join(f"{path},,\n" for path in paths))
