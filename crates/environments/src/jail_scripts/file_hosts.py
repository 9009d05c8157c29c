"""Inside a jail, index reachable: write the hosts that serve an index's files, one a line.

usage: file_hosts.py OUTPUT INDEX_URL PROXY CERTIFICATES NAME...
Also writes NAME's files as JSON lines when one name is given, for the pinned tool.
"""
import html.parser
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

output, index, proxy, certificates, *names = sys.argv[1:]
LISTING_BYTES_MAX = 64 << 20
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"https": proxy, "http": proxy}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificates)),
)


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attributes):
        href = dict(attributes).get("href")
        if tag == "a" and href:
            self.urls.append(href)


def listing(name):
    request = urllib.request.Request(
        f"{index.rstrip('/')}/{name}/",
        headers={
            "Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.2",
            "User-Agent": "stockade",
        },
    )
    with opener.open(request, timeout=30) as answer:
        body = answer.read(LISTING_BYTES_MAX)
        base = answer.url
        if "json" in answer.headers.get("Content-Type", ""):
            urls = [entry["url"] for entry in json.loads(body)["files"]]
        else:
            links = Links()
            links.feed(body.decode("utf-8", "replace"))
            urls = links.urls
    return [urllib.parse.urljoin(base, url) for url in urls]


found, urls = set(), []
for name in names:
    try:
        urls = listing(name)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise SystemExit(f"the package index answered {error.code}")
        continue
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"the package index did not answer as expected: {error}")
    found = {urllib.parse.urlsplit(url).hostname for url in urls} - {None}
    break
else:
    raise SystemExit(f"the package index has none of: {', '.join(names)}")
with open(output, "w", encoding="utf-8") as lines:
    lines.writelines(f"{host}\n" for host in sorted(found))
if len(names) == 1:
    with open(output + ".urls", "w", encoding="utf-8") as lines:
        lines.writelines(f"{url}\n" for url in urls)
