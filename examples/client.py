# SPDX-License-Identifier: Apache-2.0
"""Swap a face through a running service: ``python examples/client.py SOURCE TARGET OUT.png``.

Start one with ``facex serve``. FACEX_URL and FACEX_TOKEN say where it is and how to get in.
"""

import json
import os
import sys
from pathlib import Path

import httpx2 as httpx


def main(source: str, target: str, out: str) -> None:
    url = os.environ.get("FACEX_URL", "http://127.0.0.1:8765")
    token = os.environ.get("FACEX_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=f"{url}/api/v1/", headers=headers, timeout=120) as client:
        photos = {}
        for name, path in (("source", source), ("target", target)):
            reply = client.post(
                "photos", files={"file": (Path(path).name, Path(path).read_bytes())}
            )
            photos[name] = checked(reply).json()["id"]
        # consent: everybody shown agreed to this.
        order = {"task": "swap", "photos": photos, "consent": True}
        job = checked(client.post("edits", json=order)).json()
        with client.stream("GET", f"jobs/{job['id']}/events") as events:
            for line in events.iter_lines():
                if line.startswith("data: {"):
                    job = json.loads(line.removeprefix("data: "))
                    print(job["status"], job["stage"], f"{job['done']}/{job['total']}")
        if job["status"] != "done":
            sys.exit(job["error"]["message"] if job["error"] else job["status"])
        Path(out).write_bytes(checked(client.get(f"jobs/{job['id']}/result")).content)


def checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_error:
        sys.exit(reply.json()["message"])
    return reply


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
