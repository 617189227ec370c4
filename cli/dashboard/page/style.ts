/** The style sheet. Text has a contrast of at least 4.5 to its background, in both colour schemes (WCAG 2.2, 1.4.3). */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #d5dae1; --text: #1a2029; --dim: #556070; --link: #0b57c2; --focus: #0b57c2;
  --good: #116329; --good-bg: #e3f4e7; --bad: #b01322; --bad-bg: #fde7e9; --warning: #7a4b00; --warning-bg: #fdf0d5;
  --unknown: #4a5568; --unknown-bg: #e9edf2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b212a; --line: #353f4d; --text: #e6eaf0; --dim: #a3afbf; --link: #86b7ff; --focus: #86b7ff;
    --good: #7ee2a0; --good-bg: #14301f; --bad: #ff9ba3; --bad-bg: #45161b; --warning: #f5c56b; --warning-bg: #3a2b0c;
    --unknown: #b6c1d1; --unknown-bg: #2a323e;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1rem; }
footer { padding-bottom: 2rem; color: var(--dim); }
h1 { font-size: 1.35rem; margin: 0; display: inline; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
h3 { font-size: 1rem; margin: 1rem 0 .5rem; }
a { color: var(--link); text-underline-offset: .15em; }
a:focus-visible, button:focus-visible, input:focus-visible, select:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 2px;
}
code { font: .87em/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; background: var(--unknown-bg); padding: .1em .35em; border-radius: 3px; }
bdi { overflow-wrap: anywhere; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; background: var(--card); padding: .5rem 1rem; z-index: 1; }
.where, .count, .more, .releases, .none { color: var(--dim); }
.where { margin: .15rem 0 1rem; }
.count { font-weight: normal; font-size: .9em; margin-left: .4em; }
section, form { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.25rem; margin: 0 0 1.25rem; }
section > p { margin: 0; }
section > * + p { margin-top: .75rem; }
section > h2 + p { margin-top: 0; }
form { display: flex; flex-wrap: wrap; gap: .75rem 1rem; align-items: end; }
label { display: grid; gap: .2rem; color: var(--dim); font-size: .9rem; flex: 1 1 11rem; }
input, select, button { font: inherit; color: var(--text); background: var(--page); border: 1px solid var(--dim); border-radius: 5px; padding: .35rem .6rem; min-height: 2.3rem; width: 100%; }
button { width: auto; background: var(--link); color: var(--card); border-color: var(--link); cursor: pointer; padding-inline: 1.1rem; }
.clear { padding: .35rem 0; }
.cards { list-style: none; display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .75rem; padding: 0; margin: 0 0 1.25rem; }
.cards li, .tile { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--unknown); border-radius: 6px; padding: .6rem .9rem; }
.cards li { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .2rem .75rem; align-items: baseline; }
.cards a { font-weight: 600; }
.cards .good, .tile.good { border-left-color: var(--good); }
.cards .bad, .tile.bad { border-left-color: var(--bad); }
.cards .warning, .tile.warning { border-left-color: var(--warning); }
.map { list-style: none; display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .75rem; padding: 0; margin: 0; }
.tile { background: var(--page); }
.tile > a { font-weight: 600; }
.tile dl { margin: .4rem 0 0; font-size: .93rem; }
.tile dl div { display: flex; justify-content: space-between; gap: 1rem; }
.tile dt { color: var(--dim); }
.tile dd { margin: 0; text-align: right; }
.state { display: inline-block; padding: 0 .5em; border-radius: 999px; font-size: .93em; color: var(--unknown); background: var(--unknown-bg); overflow-wrap: anywhere; }
.state.good { color: var(--good); background: var(--good-bg); }
.state.bad { color: var(--bad); background: var(--bad-bg); }
.state.warning { color: var(--warning); background: var(--warning-bg); }
.mark { font-weight: 700; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1rem .4rem 0; border-top: 1px solid var(--line); }
tbody th, td { min-width: 6.5rem; }
table bdi { overflow-wrap: break-word; }
table .state { white-space: nowrap; }
thead th { border-top: 0; color: var(--dim); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; }
.group th { padding-top: .9rem; font-weight: 600; }
tbody .role { min-width: 14rem; max-width: 24rem; }
.arn { color: var(--dim); font-size: .85em; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
tbody .prose { min-width: 16rem; }
.prose { max-width: 75ch; }
td time { white-space: nowrap; }
.refusals { list-style: none; padding: 0; margin: 0; }
.refusals li { border-top: 1px solid var(--line); padding: .75rem 0; }
.refusals li:first-child { border-top: 0; padding-top: 0; }
.refusals h3, .refusals p { margin: 0 0 .35rem; overflow-wrap: anywhere; }
.fault { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; margin: 0 0 1.25rem; overflow-wrap: anywhere; }
.cut .live-state { color: var(--warning); font-weight: 600; }
.announce { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 40rem) {
  header, main, footer { padding-inline: .75rem; }
  section, form { padding: .85rem; }
  .map { grid-template-columns: 1fr; }
  tbody .role { min-width: 9rem; }
}
@media print { form, .skip { display: none; } }
`
