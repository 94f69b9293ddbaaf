# SPDX-License-Identifier: Apache-2.0
"""The service (``facex serve``) and the page (``facex studio``): REST around :class:`facex.FaceX`.

A request is a recipe whose files are ids of uploaded photos. Uploads are re-encoded and stored
under ids (``store``), edits wait in SQLite (``jobs``) until the thread of a device takes them
(``worker``, ``edits``), and ``guard`` keeps strangers out.
"""
