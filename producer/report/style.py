"""Style of the report: light and dark screens, phones, paper."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2733; --muted: #55606d; --page: #f4f6f8;
  --panel: #fff; --line: #dde3e9; --main: #33658a; --code: #eef2f5; --mark: #fff;
  --done: #3fae74; --failed: #a3123f; --given-up: #6a2fb0; --blocked: #eab41d; --ready: #5a80c4;
  --waiting: #b4c0ca; --scale-0: #33658a; --scale-1: #6fabcc; --scale-2: #d9930f;
  --scale-3: #e0560f; --scale-4: #758e4f; --scale-5: #8d3b72; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --muted: #a9b4c0; --page: #13171c; --panel: #1c222a; --line: #353f4a;
    --main: #7fb3d9; --code: #28303a; --mark: #12161b; --done: #1f8f5c; --failed: #ff86a0;
    --given-up: #c08cf5; --blocked: #f7e04a; --ready: #3a6be0; --waiting: #535c66;
    --scale-0: #5b9bd5;
    --scale-1: #b5dcf0; --scale-2: #f6ae2d; --scale-3: #f2793a; --scale-4: #9dbb6d;
    --scale-5: #d07ab8; }
}
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  margin: 0; -webkit-text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 8px 0; } a { color: inherit; }
.lead { color: var(--muted); margin: 4px 0 20px; overflow-wrap: anywhere; }
section, .card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
section { padding: 18px 20px; margin: 0 0 18px; min-width: 0; }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 0 0 18px; }
.card { padding: 10px 18px; min-width: 0; }
.card b { display: block; font-size: 22px; } .card span { color: var(--muted); font-size: 13px; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
.scroll:last-child { margin: 0; }
.scroll:focus-visible { outline: 2px solid var(--main); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: 13px; padding: 0 0 4px; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
th { font-weight: inherit; }
thead th { color: var(--muted); font-weight: 600; font-size: 13px; }
th:first-child, .text td, .text th { text-align: left; }
.long { white-space: normal; overflow-wrap: anywhere; min-width: 9em; }
.text .long { min-width: 16em; }
.facts td { white-space: normal; overflow-wrap: anywhere; } .facts .long { min-width: 9em; }
.facts th { white-space: normal; width: 34%; } time { white-space: nowrap; }
code { font: 13px/1.4 ui-monospace, monospace; background: var(--code); border-radius: 3px;
  padding: 1px 4px; overflow-wrap: anywhere; user-select: all; }
td code { display: block; margin: 2px 0 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 18px; margin: 0 0 18px; }
.two section { margin: 0; }
svg { display: block; width: 100%; color: var(--muted); }
.bars { display: grid; grid-template-columns: auto 1fr; gap: 8px 12px; align-items: center;
  margin: 0 0 14px; }
.bars svg { height: 18px; }
figure { margin: 0; } figcaption { color: var(--muted); font-size: 13px; margin: 6px 0 0; }
.maps { display: flex; flex-wrap: wrap; gap: 18px 24px; margin: 12px 0 0; }
.maps figure { max-width: 100%; } .maps > figure > figcaption { margin: 0 0 8px; }
.layers { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-end; }
.layers figcaption { margin: 3px 0 0; font-size: 12px; }
.map { max-width: 100%; shape-rendering: crispEdges; outline: 1px solid var(--line); }
.tip { position: fixed; max-width: calc(100vw - 8px); padding: 4px 8px; border-radius: 4px;
  font-size: 13px; white-space: pre-line; pointer-events: none; color: var(--panel);
  background: var(--ink); }
.note { color: var(--muted); font-size: 13px; }
.chip { display: inline-block; vertical-align: -3px; margin: 0 6px 0 0; }
.slice { display: block; width: 100%; max-width: 512px; image-rendering: pixelated;
  border-radius: 4px; background: #000; }
.words { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr));
  gap: 2px 20px; margin: 0 0 14px; font-size: 13px; color: var(--muted); }
.words:last-child { margin: 12px 0 0; }
.words dt { display: inline; color: var(--ink); font-weight: 600; }
.words dd { display: inline; margin: 0 0 0 6px; }
i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 6px 0 0;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.key span { margin-right: 16px; white-space: nowrap; }
@media (max-width: 600px) {
  main { padding: 14px; } section { padding: 14px; }
  .cards { grid-template-columns: repeat(2, 1fr); } .card { padding: 8px 14px; }
  .many { gap: 8px; } .many figure { max-width: calc((100% - 16px) / 3); }
  .many figcaption { font-size: 11px; }
}
@media print {
  @page { margin: 12mm; }
  :root { color-scheme: light; --page: #fff; --code: #fff; }
  body { font-size: 9.5pt; } main { max-width: none; padding: 0; }
  h1 { font-size: 16pt; } h2 { font-size: 12pt; break-after: avoid; }
  section { border: 0; padding: 0; margin: 0 0 14px; }
  .cards { grid-template-columns: repeat(4, 1fr); gap: 8px; } .card { padding: 4px 10px; }
  .card b { font-size: 13pt; }
  .two { grid-template-columns: 1fr 1fr; }
  section, .card, .bars, .words, svg, img, figure, tr { break-inside: avoid; }
  section:has(.maps), .maps > figure { break-inside: auto; } .tip { display: none; }
  caption, thead { break-after: avoid; } tbody tr:first-child { break-before: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; } thead th, caption, .words, code { font-size: 8pt; }
  th, td { padding: 2px 8px 2px 0; }
  .text .long { min-width: 0; }
}
"""
