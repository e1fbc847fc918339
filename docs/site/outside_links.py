"""Hook of the documentation site: links that leave `docs/` lead to the repository.

On a code host `../CONTRIBUTING.md` is the file beside `docs/`; a site has no such page. Where the
site is built without `DOCS_REPO_URL`, such a link becomes the file's path in the repository.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>\.\./[^)#\s]*)(?P<part>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    """Markdown of a page with its links to files outside `docs/` made absolute."""
    folder = PurePosixPath(page.file.src_uri).parent
    docs = Path(config.docs_dir).name

    def absolute(link: re.Match[str]) -> str:
        path = normpath(f"{docs}/{folder}/{link['path']}")
        if PurePosixPath(path).parts[0] == docs:
            return link[0]
        if not config.repo_url:
            return f"{link['text']} (`{path}` in the repository)"
        url = f"{config.repo_url.rstrip('/')}/blob/main/{path}{link['part'] or ''}"
        return f"[{link['text']}]({url})"

    return _LINK.sub(absolute, markdown)
