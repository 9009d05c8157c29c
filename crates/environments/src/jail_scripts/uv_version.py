"""Inside a jail without network: write the version of the machine's uv, if it runs here.

usage: uv_version.py UV OUTPUT
"""
import subprocess
import sys

with open(sys.argv[2], "wb") as output:
    subprocess.run([sys.argv[1], "--version"], stdout=output, check=True, timeout=20)
