"""How the page looks: light and dark, from 390 pixels on, and on paper."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5b6670; --line: #d9dee3; --paper: #fff; --card: #f6f8f9;
  --pass: #18794e; --fail: #c0341d; --open: #915b00; --unknown: #5b6670; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ed; --soft: #9aa6b1; --line: #333c45; --paper: #12171c; --card: #1a2127;
    --pass: #4cc38a; --fail: #ff8068; --open: #f0b03f; --unknown: #9aa6b1; } }
* { box-sizing: border-box; }
.skip { position: absolute; left: 1rem; top: -4rem; padding: .5rem 1rem; background: var(--card); border-radius: .3rem; }
.skip:focus { top: 1rem; z-index: 1; }
main:focus { outline: none; }
.contents ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: 1.2rem 0 0;
  font-size: .9rem; color: var(--soft); }
.contents a { display: inline-block; padding: .3rem 0; text-underline-offset: .2em; }
a:focus-visible, pre:focus-visible { outline: 2px solid var(--soft); outline-offset: 3px; }
h3 { scroll-margin-top: 1rem; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0; }
main, body > header, footer { max-width: 76rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem); }
body > header { padding-top: 2rem; color: var(--soft); }
h1 { font-size: 1rem; font-weight: 600; margin: 0; }
h2 { font-size: clamp(1.5rem, 1.1rem + 1.8vw, 2.3rem); line-height: 1.2; margin: .2em 0 .4em; text-wrap: balance; }
h3 { font-size: 1.2rem; margin: 0 0 .6rem; }
p { max-width: 48rem; margin: .4rem 0; }
article { padding-bottom: 2rem; }
article + article { border-top: 2px solid var(--line); padding-top: 1.5rem; }
section { margin-top: 2.6rem; }
h2, p, li, td, th, figcaption, code { overflow-wrap: anywhere; }
a { color: inherit; }
:lang(ko) { word-break: keep-all; }
.verdict { border-left: 5px solid var(--mark); background: var(--card); border-radius: .3rem; padding: 1.1rem 1.4rem;
  margin-top: 1rem; }
.verdict > p:first-child { margin-top: 0; }
.badge { color: var(--mark); font-weight: 700; letter-spacing: .02em; white-space: nowrap; }
.pass { --mark: var(--pass); } .fail { --mark: var(--fail); }
.inconclusive { --mark: var(--open); } .unknown { --mark: var(--unknown); }
.note, figcaption, caption, footer, small { color: var(--soft); }
.scroll { overflow-x: auto; margin: .8rem 0; }
.scroll:focus-visible { outline: 2px solid var(--soft); outline-offset: 3px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; font-size: .9rem; max-width: calc(100vw - 2rem); }
th, td { padding: .4rem .8rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
thead th.short { white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
td.text { min-width: 8rem; }
td.short { min-width: 0; white-space: nowrap; }
.scroll th:first-child { position: sticky; left: 0; background: var(--paper); }
code, pre, .key { font-family: ui-monospace, monospace; font-size: .88em; }
pre { background: var(--card); border-radius: .3rem; padding: 1rem; overflow-x: auto; line-height: 1.7; }
figure { margin: 0; }
.charts { display: grid; gap: 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.charts > *, .panels > * { min-width: 0; }
section > .charts + *, section > .chart + * { margin-top: 1.4rem; }
.panels { display: grid; gap: 1.2rem 2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--panel)), 1fr)); }
.plot { width: 100%; display: block; }
.plot svg { max-width: 100%; height: auto; display: block; }
.plot text { font-family: system-ui, sans-serif; }
.note, figcaption { font-size: .9rem; margin-top: .4rem; }
.gallery { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.gallery figure { display: flex; gap: .8rem; padding: .7rem; border: 1px solid var(--line); border-radius: .4rem;
  break-inside: avoid; }
.gallery img, .missing { width: 96px; height: 96px; flex: none; object-fit: cover; border-radius: .25rem; }
.missing { display: grid; place-items: center; text-align: center; font-size: .75rem; background: var(--card);
  color: var(--soft); margin: 0; }
.gallery figcaption { margin: 0; min-width: 0; line-height: 1.35; color: var(--ink); font-size: .85rem; }
.gallery ul { list-style: none; margin: .3rem 0; padding: 0; }
.kind { display: block; color: var(--soft); }
.kind.newly-wrong { color: var(--fail); } .kind.newly-right { color: var(--pass); }
.key { color: var(--soft); display: block; font-size: .8em; }
.wrong { color: var(--fail); } .right { color: var(--pass); }
footer { padding-top: 1rem; padding-bottom: 3rem; font-size: .85rem; }
#vg-tooltip-element { font: 13px/1.4 system-ui, sans-serif; padding: .5rem .7rem; border-radius: .3rem; }
@media (max-width: 40rem) { .verdict { padding: .9rem 1rem; } }
@media print { .skip, .contents { display: none; }
  body { font-size: 11pt; } .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; }
  .plot svg, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
