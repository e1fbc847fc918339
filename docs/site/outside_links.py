"""Hook of the documentation site: links that leave `docs/` lead to the repository.

On a code host `../CONTRIBUTING.md` is the file beside `docs/`; a site has no such page.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

_LINK = re.compile(r"(\]\()(?P<path>\.\./[^)#\s]*)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    """Markdown of a page with its links to files outside `docs/` made absolute."""
    folder = PurePosixPath(page.file.src_uri).parent
    base = f"{config.repo_url.rstrip('/')}/blob/main/"

    def absolute(link: re.Match[str]) -> str:
        path = normpath(f"{Path(config.docs_dir).name}/{folder}/{link['path']}")
        inside = PurePosixPath(path).parts[0] == Path(config.docs_dir).name
        return link[0] if inside else f"{link[1]}{base}{path}"

    return _LINK.sub(absolute, markdown)
