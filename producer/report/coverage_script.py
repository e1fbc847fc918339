"""Script of the report: names the shard of a coverage map that the pointer is on.

It is the only script of the page, and the page's policy lets no other run, whatever texts of others
the page shows. Nothing is loaded from anywhere.
"""

import base64
import hashlib
from typing import Final

from producer.report.coverage_paths import DIGITS

_SCRIPT: Final = r"""
(() => {
  const digits = "DIGITS", shown = (number) => number.toLocaleString("en-US");
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;

  // Place of the cell in the map, and in its path.
  function cellAt(path, event) {
    const svg = path.ownerSVGElement, view = svg.viewBox.baseVal;
    const box = svg.getBoundingClientRect();
    const x = Math.floor(view.x + (event.clientX - box.left) / box.width * view.width);
    const y = Math.floor(view.y + 0.5 + (event.clientY - box.top) / box.height * view.height);
    let before = 0;
    for (const [, left, row, cells] of path.getAttribute("d").matchAll(/M(\d+) (\d+)h(\d+)/g)) {
      if (y === +row && x >= +left && x < +left + +cells)
        return { place: [x, y, +svg.dataset.z], position: before + x - left };
      before += +cells;
    }
    return null;
  }

  // A shard's number has the bits of its place, interleaved.
  function keyOf(map, place) {
    const used = [0, 0, 0];
    let number = 0n;
    [...map.axes].forEach((axis, bit) => {
      number |= BigInt((place[axis] >> used[axis]++) & 1) << BigInt(bit);
    });
    return `s${map.scale}/${number.toString(16).padStart(map.digits, "0")}`;
  }

  function chunksOf(path, position) {
    const held = path.dataset.chunks || "";
    const width = held.length / path.dataset.cells;
    const own = [...held.slice(position * width, (position + 1) * width)];
    if (!own.length || own[0] === ".") return "";
    const chunks = own.reduce((sum, digit) => 64 * sum + digits.indexOf(digit), 0);
    return `, ${shown(chunks)} chunk${chunks === 1 ? "" : "s"}`;
  }

  function describe(path, event) {
    const cell = cellAt(path, event);
    if (cell === null) return "";
    const map = JSON.parse(path.closest("[data-map]").dataset.map);
    const box = cell.place.map((at, axis) => {
      const begin = at * map.voxels[axis];
      const end = Math.min(begin + map.voxels[axis], map.size[axis]) - 1;
      return `${"xyz"[axis]} ${shown(begin)}\u2013${shown(end)}`;
    }).join(", ");
    const name = map.several ? "the worst of several shards" : keyOf(map, cell.place);
    return `${name}: ${path.dataset.state}${chunksOf(path, cell.position)}\n${box}`;
  }

  function show(event) {
    const path = event.target.closest ? event.target.closest(".map path[data-state]") : null;
    const text = path ? describe(path, event) : "";
    tip.hidden = !text;
    tip.textContent = text;
    const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4);
    const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${event.clientY + (below ? 18 : -8 - tip.offsetHeight)}px`;
  }
  for (const name of ["pointermove", "pointerdown"]) document.addEventListener(name, show);
})();
""".replace("DIGITS", DIGITS)

_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    f"script-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
)
"""What the page may do: its own styles, pictures in the page, this script."""

SCRIPT: Final = f"<script>{_SCRIPT}</script>"
