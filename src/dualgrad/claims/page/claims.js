const $ = id => document.getElementById(id);
const SIGNS = { reproduced: '✓', close: '≈', not_reproduced: '✗', ambiguous: '±', not_testable: '–' };
const CHOICES = ['verdict', 'document', 'topic', 'caveat'];
const state = { search: '', verdict: '', document: '', topic: '', caveat: '', sort: 'order', down: false };
let D, order, names, byId;

// Everything that comes from the data is set as text, never as markup.
function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === 'class') node.className = value;
    else if (key === 'colour') node.style.setProperty('--colour', `var(--${value})`);
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}
const mark = (verdict, words) => make('span', { class: 'mark', colour: verdict }, `${SIGNS[verdict]} ${words ?? D.verdicts[verdict]}`);
const place = ([code, section]) => `${D.documents[code]}${section ? ` (${section})` : ''}`;

// ------------------------------------------------------------------------------------------------- head

function head() {
  const counts = Object.fromEntries(order.map(verdict => [verdict, 0]));
  for (const claim of D.claims) counts[claim.verdict] += 1;
  $('bar').setAttribute('aria-label', order.map(verdict => `${counts[verdict]} ${D.verdicts[verdict]}`).join(', '));
  for (const verdict of order) {
    if (counts[verdict]) {
      const piece = make('span', { colour: verdict });
      piece.style.flex = counts[verdict];
      $('bar').append(piece);
    }
    $('tiles').append(make('button', {
      type: 'button', colour: verdict, 'data-verdict': verdict,
      onclick: () => set({ verdict: state.verdict === verdict ? '' : verdict }),
    }, make('b', {}, String(counts[verdict])), D.verdicts[verdict]));
  }
  const columns = ['Document', ...order.map(verdict => D.verdicts[verdict]), 'all'];
  const body = Object.entries(D.byDocument).map(([code, found]) => {
    const numbers = order.map(verdict => found[verdict]);
    numbers.push(numbers.reduce((a, b) => a + b, 0));
    return make('tr', {}, make('th', { scope: 'row' }, D.documents[code]), ...numbers.map(one => make('td', {}, one ? String(one) : '·')));
  });
  $('by-document').append(
    make('thead', {}, make('tr', {}, ...columns.map(name => make('th', { scope: 'col' }, name)))), make('tbody', {}, ...body));
}

function conclusions() {
  $('conclusions-about').textContent = D.published
    ? 'Their numbers are measured on the rows, like those of the claims below.'
    : 'They were written for the published data. Here are the numbers that this edition gives in their place.';
  for (const one of D.conclusions) {
    const content = make('div', {}, D.published
      ? make('p', {}, one.text)
      : make('dl', {}, ...one.numbers.flatMap(([words, value]) => [make('dt', {}, words), make('dd', {}, value)])));
    const chips = [...one.claims].sort((a, b) => order.indexOf(byId.get(a).verdict) - order.indexOf(byId.get(b).verdict)).map(id => make('a', {
      class: 'chip', href: `#${id}`, colour: byId.get(id).verdict, title: `${byId.get(id).says} ${D.verdicts[byId.get(id).verdict]}`,
    }, id));
    content.append(make('div', { class: 'chips' }, ...chips));
    $('conclusions').append(make('li', {}, make('details', {}, make('summary', {}, one.title), content)));
  }
  $('every').addEventListener('click', () => {
    const all = [...document.querySelectorAll('#conclusions details')];
    const wanted = !all.every(one => one.open);
    for (const one of all) one.open = wanted;
    $('every').textContent = wanted ? 'Close all' : 'Open all';
  });
}

// ------------------------------------------------------------------------------------------------- claims

function row(claim) {
  if (claim.row) return claim.row;
  const cell = text => make('td', {}, make('div', { class: text ? 'clip' : 'none' }, text || '–'));
  claim.row = make('tr', { class: 'row', id: claim.id },
    make('td', {}, make('button', { type: 'button', class: 'open', 'aria-expanded': 'false' },
      make('span', {}, claim.says, make('code', {}, claim.id)))),
    cell(claim.printed), cell(claim.readings ? `${claim.readings.length} readings` : claim.measured), cell(claim.difference),
    make('td', {}, mark(claim.verdict)), cell(claim.caveat === 'none' ? '' : claim.caveat));
  claim.row.addEventListener('click', event => {
    if (!event.target.closest('a') && !String(getSelection())) toggle(claim);
  });
  return claim.row;
}

const button = claim => row(claim).querySelector('.open');
const isOpen = claim => button(claim).getAttribute('aria-expanded') === 'true';

function toggle(claim, wanted = !isOpen(claim)) {
  button(claim).setAttribute('aria-expanded', String(wanted));
  claim.detail ??= detail(claim);
  if (wanted) claim.row.after(claim.detail);
  else claim.detail.remove();
}

function detail(claim) {
  const list = make('dl', { class: 'facts' });
  const say = (term, ...content) => list.append(make('dt', {}, term), make('dd', {}, ...content));
  say('Statement', claim.says);
  say('Printed', claim.printed);
  say('Printed in', claim.places.map(place).join('; '));
  if (claim.readings) {
    const body = claim.readings.map(([name, found, agrees, words]) => make('tr', {},
      make('td', {}, name, make('small', {}, words)), make('td', {}, found),
      make('td', {}, agrees === null ? '' : mark(agrees ? 'reproduced' : 'not_reproduced', agrees ? 'agrees' : 'disagrees'))));
    say('Readings', make('table', { class: 'readings' }, make('tbody', {}, ...body)));
  } else if (claim.measured) say('Measured', claim.measured);
  if (claim.difference) say('Difference', claim.difference + (claim.printed.includes(', ') ? ' (the largest)' : ''));
  say('Verdict', mark(claim.verdict), claim.reason ? `: ${claim.reason}` : '');
  if (claim.caveat !== 'none' || claim.note) say('Caveat', [claim.caveat === 'none' ? '' : claim.caveat, claim.note].filter(Boolean).join(': '));
  if (claim.words && !claim.readings) say('Measured as', claim.words);
  if (claim.selections) say('Runs behind it', make('div', { class: 'runs' }, ...claim.selections.map(selection)));
  return make('tr', { class: 'detail' }, make('td', { colspan: '6' }, list));
}

function selection(number) {
  const one = D.selections[number];
  const box = make('details', {}, make('summary', {}, `${one.words} · ${one.runs.length} run${one.runs.length === 1 ? '' : 's'}`));
  // Lists are long and most are never looked at, so each is made when it is opened.
  box.addEventListener('toggle', () => { if (box.open && box.childElementCount === 1) box.append(...runs(one)); });
  return box;
}

function runs(one) {
  const parts = one.field ? [make('p', { class: 'muted' }, `${one.field}${one.several ? ', mean over the rows of a run' : ''}`)] : [];
  let at = 0, experiment = null, list = null;
  one.runs.forEach((step, index) => {
    at += step;
    const [name, run] = names[at];
    if (name !== experiment) {
      experiment = name;
      list = make('ul');
      parts.push(make('h3', {}, name, ...sources(name)), list);
    }
    const value = one.values?.[index] ?? null;
    list.append(make('li', {}, make('a', { href: `explorer.html#run=${name}/${run}` }, run), make('span', {}, value === null ? '' : String(value))));
  });
  parts.push(make('p', { class: 'muted' }, 'Runs open in the census explorer, where it lies beside this page.'));
  return parts;
}

function sources(name) {
  return (D.sources.files[name] ?? []).flatMap(file =>
    [' · ', make('a', { href: `${D.sources.base}/${file}`, rel: 'noopener noreferrer' }, file.split('/').pop())]);
}

// ------------------------------------------------------------------------------------------------- filters and order

function number(text) {
  const found = /-?\d[\d,]*(\.\d+)?(e[-+]\d+)?/.exec(text ?? '');
  return found ? parseFloat(found[0].replaceAll(/,(?=\d{3})/g, '')) : NaN;
}
const KEYS = {
  order: claim => claim.order,
  printed: claim => number(claim.printed),
  measured: claim => number(claim.readings ? '' : claim.measured),
  units: claim => claim.units ?? NaN,
  verdict: claim => order.indexOf(claim.verdict),
  caveat: claim => (claim.caveat === 'none' ? '~' : claim.caveat),
};

function words(claim) {
  claim.text ??= [claim.id, claim.says, claim.printed, claim.measured, claim.note, claim.words, claim.reason, D.topics[claim.topic],
    claim.caveat, ...claim.places.map(place)].join(' ').toLowerCase();
  return claim.text;
}
const fits = claim => (!state.verdict || claim.verdict === state.verdict) && (!state.topic || claim.topic === state.topic)
  && (!state.caveat || claim.caveat === state.caveat) && (!state.document || claim.places.some(([code]) => code === state.document))
  && state.search.toLowerCase().split(/\s+/).every(word => words(claim).includes(word));

function show() {
  const key = KEYS[state.sort];
  const chosen = D.claims.filter(fits).map(claim => [key(claim), claim]).sort(([x, a], [y, b]) => {
    const lacking = Number.isNaN(x) - Number.isNaN(y); // what has no value comes last, up or down
    const by = typeof x === 'string' ? x.localeCompare(y) : x - y;
    return lacking || (Number.isNaN(x) ? 0 : state.down ? -by : by) || a.order - b.order;
  });
  const rows = [];
  let topic = null;
  for (const [, claim] of chosen) {
    if (state.sort === 'order' && !state.down && claim.topic !== topic) {
      topic = claim.topic;
      rows.push(make('tr', { class: 'heading' }, make('th', { colspan: '6', scope: 'colgroup' }, D.topics[topic])));
    }
    rows.push(row(claim));
    if (isOpen(claim)) rows.push(claim.detail);
  }
  $('rows').replaceChildren(...rows);
  $('shown').textContent = chosen.length === D.claims.length ? `${chosen.length} claims` : `${chosen.length} of ${D.claims.length} claims`;
  $('nothing').hidden = chosen.length > 0;
  $('reset').hidden = !['search', ...CHOICES].some(name => state[name]);
  for (const one of document.querySelectorAll('th[data-sort]')) {
    if (one.dataset.sort === state.sort) one.setAttribute('aria-sort', state.down ? 'descending' : 'ascending');
    else one.removeAttribute('aria-sort');
  }
  for (const one of $('tiles').children) one.setAttribute('aria-pressed', String(one.dataset.verdict === state.verdict));
}

function set(changes) {
  Object.assign(state, changes);
  for (const id of ['search', ...CHOICES]) if ($(id).value !== state[id]) $(id).value = state[id];
  show();
  writeAddress();
  $('strange').hidden = true; // what the address named is gone
}
const clear = () => set({ search: '', verdict: '', document: '', topic: '', caveat: '' });

// The address says what is shown: #id opens a claim; #verdict=close&q=width filters, with sort=units&down=1.
const KEPT = { q: 'search', verdict: 'verdict', document: 'document', topic: 'topic', caveat: 'caveat', sort: 'sort' };

function writeAddress() {
  const words = new URLSearchParams();
  for (const [word, name] of Object.entries(KEPT)) if (state[name] && state[name] !== 'order') words.set(word, state[name]);
  if (state.down) words.set('down', '1');
  history.replaceState(null, '', String(words) ? `#${words}` : location.pathname + location.search);
}

function readAddress() {
  const text = location.hash.slice(1);
  const strange = [];
  if (text.includes('=')) {
    const changes = { search: '', verdict: '', document: '', topic: '', caveat: '', sort: 'order', down: false };
    for (const [word, value] of new URLSearchParams(text)) {
      const name = KEPT[word];
      const fitting = name === 'search' || word === 'down' || (name === 'sort' ? value in KEYS
        : name && [...$(name).options].some(one => one.value === value));
      if (!fitting) strange.push(`${word}=${value}`);
      else if (word === 'down') changes.down = value === '1';
      else changes[name] = value;
    }
    set(changes);
  } else if (text) {
    const [name] = new URLSearchParams(text.replaceAll('+', '%2B')).keys(), claim = byId.get(name); // forgiving, unlike decodeURI
    if (claim) follow(claim);
    else strange.push(name);
  }
  $('strange').hidden = strange.length === 0;
  $('strange').textContent = strange.length ? `The address names what is not on this page: “${strange.join('”, “')}”.` : '';
}

function follow(claim) {
  if (!fits(claim)) {
    Object.assign(state, { search: '', verdict: '', document: '', topic: '', caveat: '' });
    for (const id of ['search', ...CHOICES]) $(id).value = '';
    show();
  }
  toggle(claim, true);
  claim.row.scrollIntoView({ block: 'start' });
  button(claim).focus({ preventScroll: true });
}

function controls() {
  const kinds = [...new Set(D.claims.map(claim => claim.caveat))].sort();
  const options = { verdict: D.verdicts, document: D.documents, topic: D.topics, caveat: Object.fromEntries(kinds.map(kind => [kind, kind])) };
  for (const id of CHOICES) {
    $(id).append(make('option', { value: '' }, 'all'), ...Object.entries(options[id]).map(([value, title]) => make('option', { value }, title)));
    $(id).addEventListener('change', () => set({ [id]: $(id).value }));
  }
  $('search').addEventListener('input', () => set({ search: $('search').value }));
  $('filters').addEventListener('submit', event => event.preventDefault());
  for (const id of ['reset', 'again'])
    $(id).addEventListener('click', event => {
      event.preventDefault(); // the form's own reset would bring back what the page began with
      clear();
      if (!event.detail) $('search').focus(); // by a key: the button that had the focus is gone
    });
  for (const one of document.querySelectorAll('th[data-sort]'))
    one.firstElementChild.addEventListener('click', () => set({ sort: one.dataset.sort, down: state.sort === one.dataset.sort && !state.down }));
  document.addEventListener('keydown', event => {
    if (event.key === '/' && !event.target.closest('input, select')) { event.preventDefault(); $('search').focus(); }
  });
  addEventListener('hashchange', readAddress);
}

unpack('data', data => {
  D = data;
  order = Object.keys(D.verdicts);
  names = D.runs.flatMap(([experiment, list]) => list.map(run => [experiment, run]));
  D.claims.forEach((claim, number) => { claim.order = number; });
  byId = new Map(D.claims.map(claim => [claim.id, claim]));
  head();
  conclusions();
  controls();
  show();
  $('loading').hidden = true;
  $('app').removeAttribute('aria-busy');
  readAddress();
});
