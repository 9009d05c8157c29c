"""Inside a jail, file hosts reachable: fetch the listed files, eight at a time.

usage: fetch.py LIST PROXY CERTIFICATES, LIST being JSON: [{"url", "sha256", "name", "size"}].
Writes wheels/SHA256/NAME below the working folder, and `bytes DONE TOTAL` lines to stderr.
Hashes are checked outside; here only the length is bounded.
"""
import concurrent.futures
import json
import os
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
        with opener.open(request, timeout=60) as answer, open(path, "wb") as output:
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
    raise SystemExit(f"cannot fetch {file['name']}: {failure}")


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for result in [pool.submit(fetch, file) for file in files]:
        result.result()
