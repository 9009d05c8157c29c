"""Inside a jail, index reachable: write the hosts that serve an index's files, one a line.

usage: file_hosts.py OUTPUT INDEX_URL PROXY CERTIFICATES NAME...
Asks for one NAME after the other until the index has one. When only one is given, its files are
written too, as JSON beside OUTPUT: [{"url", "sha256", "size", "requires_python", "yanked",
"uploaded"}].
Ends with 3 when it has none of them. Other links of a page, such as those to a project's own site, are no files: they open no host.
"""
import gzip
import html.parser
import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

output, index, proxy, certificates, *names = sys.argv[1:]
LISTING_BYTES_MAX = 64 << 20
patience = float(os.environ.get("UV_HTTP_TIMEOUT", 30))
FILES = (".whl", ".tar.gz", ".zip")
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"https": proxy, "http": proxy}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificates)),
)


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.files = []

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        if tag == "a" and about.get("href"):
            self.files.append(
                {
                    "url": about["href"],
                    "requires-python": about.get("data-requires-python"),
                    "yanked": "data-yanked" in about,
                }
            )


def listing(name):
    request = urllib.request.Request(
        f"{index.rstrip('/')}/{name}/",
        headers={
            "Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.2",
            "Accept-Encoding": "gzip",
            "User-Agent": "stockade",
        },
    )
    with opener.open(request, timeout=patience) as answer:
        # Bounded once it is unpacked, too.
        packed = answer.headers.get("Content-Encoding") == "gzip"
        body = (gzip.GzipFile(fileobj=answer) if packed else answer).read(LISTING_BYTES_MAX)
        base = answer.url
        if "json" in answer.headers.get("Content-Type", ""):
            files = json.loads(body)["files"]
        else:
            links = Links()
            links.feed(body.decode("utf-8", "replace"))
            files = links.files
    return [about for about in (described(file, base) for file in files) if about]


def described(file, base):
    try:
        url, _, fragment = urllib.parse.urljoin(base, file["url"]).partition("#")
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return None
    if parts.scheme != "https" or not parts.path.endswith(FILES):
        return None
    named = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
    return {
        "url": url,
        "sha256": file.get("hashes", {}).get("sha256", named),
        "size": file.get("size"),
        "requires_python": file.get("requires-python"),
        "yanked": bool(file.get("yanked")),
        "uploaded": file.get("upload-time"),
    }


found, files = set(), []
for name in names:
    try:
        files = listing(name)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise SystemExit(f"the package index answered {error.code}")
        continue
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(getattr(error, "reason", error), TimeoutError):
            raise SystemExit(f"the package index gave no answer within {patience:g} s")
        raise SystemExit(f"the package index did not answer as expected: {error}")
    found = {urllib.parse.urlsplit(file["url"]).hostname for file in files} - {None}
    break
else:
    print(f"it lists none of: {', '.join(names)}", file=sys.stderr)
    sys.exit(3)
with open(output, "w", encoding="utf-8") as lines:
    lines.writelines(f"{host}\n" for host in sorted(found))
if len(names) == 1:
    with open(output + ".json", "w", encoding="utf-8") as listed:
        json.dump(files, listed)
