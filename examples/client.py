# SPDX-License-Identifier: Apache-2.0
"""Swap a face through ``facex serve``: ``python examples/client.py SOURCE TARGET OUT.png``.

FACEX_URL and FACEX_TOKEN say where it is and how to get in. Needs nothing but Python.
"""

import json
import os
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def call(path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    url = f"{os.environ.get('FACEX_URL', 'http://127.0.0.1:8765').rstrip('/')}/api/v1/{path}"
    headers = {"content-type": kind, "authorization": f"Bearer {os.environ.get('FACEX_TOKEN', '')}"}
    try:
        with urlopen(Request(url, body, headers), timeout=120) as reply:
            return bytes(reply.read())
    except HTTPError as error:
        sys.exit(json.loads(error.read())["message"])


def upload(file: str) -> str:
    head = '--cut\r\nContent-Disposition: form-data; name="file"; filename="photo"\r\n\r\n'
    form = head.encode() + Path(file).read_bytes() + b"\r\n--cut--\r\n"
    return str(json.loads(call("photos", form, "multipart/form-data; boundary=cut"))["id"])


def main(source: str, target: str, out: str) -> None:
    photos = {"source": upload(source), "target": upload(target)}
    order = {"task": "swap", "photos": photos, "consent": True}  # everybody shown agreed to this
    job = json.loads(call("edits", json.dumps(order).encode()))
    while job["status"] in ("queued", "running"):
        time.sleep(0.5)
        job = json.loads(call(f"jobs/{job['id']}"))
        print(job["status"], job["stage"], f"{job['done']}/{job['total']}")
    if job["status"] != "done":
        sys.exit((job["error"] or {"message": job["status"]})["message"])
    Path(out).write_bytes(call(f"jobs/{job['id']}/result"))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
