"""Writes tiny wheels into a store, as if they had been fetched, and lists of them into a folder.

usage: make_many.py STORE FOLDER COUNT
"""
import hashlib, io, json, os, pathlib, sys, zipfile
store, folder, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
hosts = [json.loads(file.read_text())["values"][0] for file in (store / "index").iterdir()]
host = next(host for host in hosts if "/" not in host)
folder.mkdir()
names, lock = [], ['lock-version = "1.0"', 'created-by = "bench"']
for number in range(count):
    name, version = f"tiny{number}", "1.0"
    about, packed = f"{name}-{version}.dist-info", io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"number = {number}\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"{name}/__init__.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    sha256, file = hashlib.sha256(packed.getvalue()).hexdigest(), f"{name}-{version}-py3-none-any.whl"
    place = store / "wheels" / sha256
    place.mkdir(parents=True, exist_ok=True)
    for to in (place, folder):
        (to / file).write_bytes(packed.getvalue())
    names += [f"{name}=={version}"]
    lock += ["[[packages]]", f'name = "{name}"', f'version = "{version}"']
    lock += [f'wheels = [{{ url = "https://{host}/{file}", hashes = {{ sha256 = "{sha256}" }} }}]']
(folder / "requirements.txt").write_text("\n".join(names) + "\n")
(folder / "pylock.toml").write_text("\n".join(lock) + "\n")
