/**
 * The script of the page. It replaces sections that differ from those that the server sends. A selection or the keyboard
 * focus in a section is not lost: such a section is updated later, or gets its focus back. Scripts in the parsed markup never run.
 */
export const SCRIPT = `
'use strict';
{
  const states = document.querySelectorAll('.live-state');
  const say = (text, isCut) => {
    for (const one of states) one.textContent = text;
    document.body.classList.toggle('cut', isCut);
  };
  const waiting = new Map();
  const isSelected = (section) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(section);
  };
  const replace = (id, markup) => {
    const old = document.getElementById(id);
    const next = new DOMParser().parseFromString(markup, 'text/html').getElementById(id);
    if (old === null || next === null || old.isEqualNode(next)) return;
    if (isSelected(old)) return void waiting.set(id, markup);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : '';
    const scrolled = [...old.querySelectorAll('.wide')].map((one) => one.scrollLeft);
    old.replaceWith(document.adoptNode(next));
    next.querySelectorAll('.wide').forEach((one, index) => { one.scrollLeft = scrolled[index] ?? 0; });
    if (focused !== '') document.getElementById(focused)?.focus({ preventScroll: true });
  };
  document.addEventListener('selectionchange', () => {
    const late = [...waiting];
    waiting.clear();
    for (const [id, markup] of late) replace(id, markup);
  });
  const announce = document.getElementById('announce');
  const source = new EventSource('live' + location.search);
  source.addEventListener('sections', ({ data }) => {
    const { sections, title, words } = JSON.parse(data);
    document.title = title;
    for (const [id, markup] of Object.entries(sections)) {
      waiting.delete(id);
      replace(id, markup);
    }
    if (announce.textContent !== words) announce.textContent = words;
    say('Updates automatically.', false);
  });
  source.addEventListener('error', () => say('No longer updated: pod2iam dashboard does not answer.', true));
}
`
