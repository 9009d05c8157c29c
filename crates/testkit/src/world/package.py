"""usage: package.py FOLDER source|TAG NAME VERSION, TAG that of a wheel; the members on standard input: [[path, text]...]."""
import io
import json
import sys
import tarfile
import zipfile

folder, kind, name, version = sys.argv[1:]
members = json.load(sys.stdin)
if kind == "source":
    with tarfile.open(f"{folder}/{name}-{version}.tar.gz", "w:gz") as archive:
        for path, text in members:
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
else:
    about = f"{name}-{version}.dist-info"
    named = {path for path, _ in members}
    usual = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: " + kind + "\n",
        f"{about}/RECORD": "".join(f"{path},,\n" for path in named),
    }
    members += [[path, text] for path, text in usual.items() if path not in named]
    with zipfile.ZipFile(f"{folder}/{name}-{version}-{kind}.whl", "w") as wheel:
        for path, text in members:
            wheel.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
