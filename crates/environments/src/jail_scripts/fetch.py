"""Inside a jail, file hosts reachable: fetch the listed files, eight at a time.

usage: fetch.py LIST PROXY CERTIFICATES [INDEX_URL], LIST being JSON: [{"url", "sha256", "name", "size"}].
Writes wheels/SHA256/NAME below the working folder, and `bytes DONE TOTAL` lines to stderr. With an
index, writes attested.json too: {SHA256: whether the index says that it has attestations}; files that
it does not tell of are left out, and nothing fails by it.
Hashes are checked outside; here only the length is bounded.
"""
import concurrent.futures
import gzip
import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.request

with open(sys.argv[1], encoding="utf-8") as listed:
    files = json.load(listed)
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"https": sys.argv[2], "http": sys.argv[2]}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=sys.argv[3])),
)
FILE_BYTES_MAX = 4 << 30
patience = float(os.environ.get("UV_HTTP_TIMEOUT", 30))
total = sum(file["size"] or 0 for file in files)
done, told, guard = 0, 0.0, threading.Lock()


def arrived(count):
    global done, told
    with guard:
        done += count
        now = time.monotonic()
        if now - told > 0.1 or done == total:
            told = now
            print(f"bytes {done} {total}", file=sys.stderr, flush=True)


def fetch_once(file, path):
    received, limit = 0, file["size"] or FILE_BYTES_MAX
    request = urllib.request.Request(file["url"], headers={"User-Agent": "stockade"})
    try:
        with opener.open(request, timeout=patience) as answer, open(path, "wb") as output:
            while chunk := answer.read(1 << 18):
                received += len(chunk)
                if received > limit:
                    raise ValueError("more bytes than the lock says")
                output.write(chunk)
                arrived(len(chunk))
        if file["size"] and received != file["size"]:
            raise ValueError("fewer bytes than the lock says")
    except BaseException:
        arrived(-received)
        raise


def fetch(file):
    folder = os.path.join("wheels", file["sha256"])
    os.makedirs(folder, exist_ok=True)
    for attempt in range(3):
        try:
            return fetch_once(file, os.path.join(folder, file["name"]))
        except (OSError, ValueError) as error:
            failure = error
            time.sleep(0.5 * attempt)
    raise SystemExit(f"cannot fetch {file['name']}: {reason_of(failure)}")


def reason_of(failure):
    if isinstance(getattr(failure, "reason", failure), TimeoutError):
        return f"no answer within {patience:g} s"
    return failure


LISTING_BYTES_MAX = 64 << 20


def attested(name):
    request = urllib.request.Request(
        f"{sys.argv[4].rstrip('/')}/{name}/",
        headers={
            "Accept": "application/vnd.pypi.simple.v1+json",
            "Accept-Encoding": "gzip",
            "User-Agent": "stockade",
        },
    )
    try:
        with opener.open(request, timeout=min(10, patience)) as answer:
            # Bounded once it is unpacked, too.
            packed = answer.headers.get("Content-Encoding") == "gzip"
            body = (gzip.GzipFile(fileobj=answer) if packed else answer).read(LISTING_BYTES_MAX)
        listed = json.loads(body)["files"]
        return {
            file["hashes"]["sha256"]: bool(file["provenance"])
            for file in listed
            if file["hashes"].get("sha256") in wanted and "provenance" in file
        }
    except Exception:
        return {}


wanted = {file["sha256"] for file in files}
names = {re.sub(r"[-_.]+", "-", file["name"].split("-")[0]).lower() for file in files}
workers = concurrent.futures.ThreadPoolExecutor
# What is asked of the index goes beside the files, which take long.
with workers(8) as pool, workers(4) as beside:
    results = [pool.submit(fetch, file) for file in files]
    answers = [beside.submit(attested, name) for name in sorted(names)] if len(sys.argv) > 4 else []
    for result in results:
        result.result()
if len(sys.argv) > 4:
    with open("attested.json", "w", encoding="ascii") as output:
        json.dump({sha256: is_so for one in answers for sha256, is_so in one.result().items()}, output)
