// Tables to search in: one at a time, filtered by column and by words, rows drawn as they come into sight.

const $ = id => document.getElementById(id);
const ROW = 28;
const INTERVAL = ['low', 'high', 'level', 'interval'];
const state = { sheet: null, q: '', chosen: {}, sort: null, down: false, all: false };
// Filters that are always there; the rest comes when it is asked for.
const FIRST = ['experiment', 'noise_rate', 'quantity'];
let D, rows = [], columns = [];

const valueAt = (column, row) => column.of[row] < 0 ? null : column.levels[column.of[row]];
// Definitions are written with `code` in them, and in lines of a source file: a paragraph ends where one is empty.
function prose(text) {
  return text.replace(/([^\n])\n(?![\n-])/g, '$1 ').split('`').map((part, k) => k % 2 ? element('code', { textContent: part }) : part);
}
const named = name => state.sheet.columns.find(column => column.name === name);
const shown = value => value === null ? '' : value === true ? 'yes' : value === false ? 'no'
  : typeof value === 'number' ? String(Number(value.toPrecision(5))).replace('-', '−') : String(value);

function element(tag, properties = {}, ...children) {
  const one = document.createElement(tag);
  for (const [key, value] of Object.entries(properties))
    if (key.startsWith('aria-')) one.setAttribute(key, value);
    else one[key] = value;
  one.append(...children);
  return one;
}

function open(name) {
  state.sheet = D.sheets.find(sheet => sheet.name === name);
  $('strange').hidden = true;
  Object.assign(state, { chosen: {}, sort: null, down: false });
  const sheet = state.sheet;
  for (const button of $('sheets').children) button.setAttribute('aria-current', button.dataset.name === sheet.name);
  const quantities = element('dl');
  for (const [quantity, { unit, meaning }] of Object.entries(sheet.quantities))
    quantities.append(element('dt', {}, element('code', { textContent: quantity })), element('dd', {}, ...prose(meaning + (unit && unit !== '1' ? ` (${unit})` : ''))));
  const less = sheet.rows < sheet.all_rows ? ` Shown are the outcomes of runs; the file has all ${sheet.all_rows.toLocaleString('en')} rows.` : '';
  $('about').replaceChildren(
    element('h2', { textContent: sheet.title }),
    element('p', { className: 'muted' }, element('code', { textContent: `statistics/${sheet.name}.parquet` }), `.${less}`),
    element('details', {}, element('summary', { textContent: 'Definitions and methods' }), element('div', { className: 'text' }, ...prose(sheet.about), quantities)));
  $('choices').replaceChildren();
  for (const column of sheet.columns) {
    if (['value', 'n', 'p_value', 'note', ...INTERVAL].includes(column.name) || column.levels.length < 2 || column.levels.length > 80) continue;
    const levels = [...column.levels].sort((a, b) => typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true }));
    const select = element('select', { className: 'field', title: column.meaning ?? '' }, element('option', { value: '', textContent: 'any' }),
      ...levels.map(level => element('option', { value: JSON.stringify(level), textContent: shown(level) })));
    if (column.of.includes(-1)) select.append(element('option', { value: 'null', textContent: '(none)' }));
    const more = !FIRST.includes(column.name);
    select.dataset.column = column.name;
    select.onchange = () => { state.chosen[column.name] = select.value; update(); };
    const label = element('label', { hidden: more && !state.all }, column.name.replaceAll('_', ' '), select);
    label.classList.toggle('more', more);
    $('choices').append(label);
  }
  const rest = $('choices').querySelectorAll('.more');
  if (rest.length) {
    const button = element('button', { className: 'button', textContent: state.all ? 'Fewer filters' : `${rest.length} more filters`, 'aria-expanded': state.all });
    button.onclick = () => {
      state.all = !state.all;
      for (const label of rest) label.hidden = !state.all;
      button.textContent = state.all ? 'Fewer filters' : `${rest.length} more filters`;
      button.setAttribute('aria-expanded', state.all);
    };
    $('choices').append(button);
  }
  update();
}

const COMPARISON = /^([\w]+|λ|η)(<=|>=|=|<|>)(.+)$/;
const ALIASES = { 'λ': 'lam', lambda: 'lam', 'η': 'noise_rate', eta: 'noise_rate', p: 'p_value' };

function test(word) {
  const found = COMPARISON.exec(word);
  const column = found && named(ALIASES[found[1]] ?? found[1]);
  if (!column) {
    const text = word.toLowerCase();
    const fits = state.sheet.columns.map(one => one.levels.map(level => String(level).toLowerCase().includes(text)));
    return row => state.sheet.columns.some((one, k) => one.of[row] >= 0 && fits[k][one.of[row]]);
  }
  const [, , sign, right] = found, number = Number(right);
  const compare = { '<': v => v < number, '>': v => v > number, '<=': v => v <= number, '>=': v => v >= number,
    '=': v => typeof v === 'number' ? Math.abs(v - number) < 1e-9 : String(v).toLowerCase() === right.toLowerCase() }[sign];
  return row => { const value = valueAt(column, row); return value !== null && compare(value); };
}

function update() {
  const asked = state.q.replace(/\s*(<=|>=|=|<|>)\s*/g, '$1').trim().split(/\s+/).filter(Boolean);
  const sheet = state.sheet, tests = asked.map(test);
  for (const [name, wanted] of Object.entries(state.chosen)) if (wanted) {
    const column = named(name), number = wanted === 'null' ? -1 : column.levels.indexOf(JSON.parse(wanted));
    tests.push(row => column.of[row] === number);
  }
  rows = [];
  for (let row = 0; row < sheet.rows; row++) if (tests.every(fits => fits(row))) rows.push(row);
  if (state.sort) {
    const column = named(state.sort), sign = state.down ? -1 : 1;
    rows.sort((a, b) => {
      const [x, y] = [valueAt(column, a), valueAt(column, b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (typeof x === 'number' ? x - y : String(x).localeCompare(String(y), 'en', { numeric: true })) || a - b;
    });
  }
  columns = chosenColumns();
  head();
  $('count').textContent = `${rows.length.toLocaleString('en')} of ${sheet.rows.toLocaleString('en')} rows`;
  for (const select of $('choices').querySelectorAll('select')) {
    select.value = state.chosen[select.dataset.column] ?? '';
    select.classList.toggle('on', Boolean(select.value));
  }
  $('frame').scrollTop = 0;
  draw();
  const words = new URLSearchParams({ table: sheet.name });
  if (state.q) words.set('q', state.q);
  for (const [name, wanted] of Object.entries(state.chosen)) if (wanted) words.set(name, wanted);
  history.replaceState(null, '', `#${words}`);
}

// Columns in reading order: what the row is about, the estimate, and what to know. Columns that say nothing here stay
// away; keys that few rows have are told in one column; the interval is one column, and a picture where all rows are of
// one kind.
function chosenColumns() {
  const all = state.sheet.columns, filled = column => rows.reduce((sum, row) => sum + (column.of[row] >= 0), 0);
  const keys = all.slice(0, all.findIndex(column => column.name === 'quantity')).filter(filled);
  const spelt = keys.some(column => column.name === 'condition'); // it holds the factors already
  const own = keys.filter(column => spelt ? ['experiment', 'condition', 'field', 'over'].includes(column.name)
    : ['experiment', 'noise_rate', 'lam'].includes(column.name) || filled(column) > 0.6 * rows.length);
  const rest = spelt ? [] : keys.filter(column => !own.includes(column));
  const one = new Set(rows.map(row => `${named('quantity').of[row]} ${named('unit').of[row]}`)).size === 1;
  const intervals = rows.some(row => named('low').of[row] >= 0 || named('high').of[row] >= 0);
  return [
    ...own,
    ...(rest.length ? [{ name: 'where', virtual: row => rest.filter(column => column.of[row] >= 0)
      .map(column => `${column.name.replaceAll('_', ' ')} ${shown(valueAt(column, row))}`).join(', ') }] : []),
    ...['quantity', 'value'].map(named),
    ...(intervals ? [{ name: intervalHead(), virtual: range, several: intervalHead() === 'interval' || !intervalHead().includes('(') }] : []),
    ...(intervals && one && rows.length ? [{ name: '', virtual: picture, scale: extent() }] : []),
    ...['unit', 'p_value', 'n', 'note'].map(named).filter(filled),
  ];
}

function extent() {
  let low = Infinity, high = -Infinity;
  for (const row of rows) for (const name of ['value', 'low', 'high']) {
    const value = valueAt(named(name), row);
    if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
  }
  return low < high ? [low, high] : [low - 1, low + 1];
}

function range(row, column) {
  const digits = significant(row);
  const [low, high, level] = ['low', 'high', 'level'].map(name => valueAt(named(name), row));
  if (low === null && high === null) return '';
  const how = valueAt(named('interval'), row);
  const title = `${level === null ? '' : `${shown(100 * level)} % `}${how ?? ''}`;
  return markup`<span title="${title}">${low === null ? '…' : digits(low)} – ${high === null ? '…' : digits(high)}${column.several && how ? markup` <small>${how}</small>` : ''}</span>`;
}

function picture(row, column) {
  const [from, to] = column.scale, x = value => 4 + 132 * (value - from) / (to - from);
  const [value, low, high] = ['value', 'low', 'high'].map(name => valueAt(named(name), row));
  const line = low === null && high === null ? '' : markup`<line x1="${x(low ?? from).toFixed(1)}" x2="${x(high ?? to).toFixed(1)}" y1="9" y2="9"/>`;
  return markup`<svg width="140" height="18" aria-hidden="true">${line}${value === null ? '' : markup`<circle cx="${x(value).toFixed(1)}" cy="9" r="3.2"/>`}</svg>`;
}

// Digits as far as the interval says that they carry: two beyond the place of its width, never fewer than two in all.
function significant(row) {
  const [value, low, high] = ['value', 'low', 'high'].map(name => valueAt(named(name), row));
  const ends = [value, low, high].filter(one => typeof one === 'number');
  const width = Math.max(...ends) - Math.min(...ends);
  if (ends.length < 2 || !(width > 0)) return shown;
  const places = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(width))));
  return one => typeof one === 'number' ? one.toFixed(places).replace('-', '−') : shown(one);
}

// What the intervals of the rows are, for the head of their column: one kind for all, or said in each row.
function intervalHead() {
  const kinds = new Set(), levels = new Set();
  for (const row of rows) {
    if (named('low').of[row] < 0 && named('high').of[row] < 0) continue;
    kinds.add(valueAt(named('interval'), row));
    levels.add(valueAt(named('level'), row));
  }
  const level = levels.size === 1 && [...levels][0] !== null ? `${shown(100 * [...levels][0])} % ` : '';
  return `${level}interval${kinds.size === 1 && [...kinds][0] ? ` (${[...kinds][0]})` : ''}`;
}

const isNumber = column => !column.virtual && typeof column.levels[0] === 'number';

function head() {
  const row = element('tr');
  for (const column of columns) {
    const cell = element('th', { scope: 'col', className: isNumber(column) ? 'number' : '', title: column.meaning ?? '' });
    if (column.virtual) cell.append(element('button', { disabled: true, textContent: column.name }));
    else {
      const button = element('button', { textContent: column.name.replaceAll('_', ' ') });
      button.onclick = () => {
        if (state.sort !== column.name) Object.assign(state, { sort: column.name, down: false });
        else if (!state.down) state.down = true;
        else state.sort = null;
        update();
      };
      cell.append(button);
      if (state.sort === column.name) cell.setAttribute('aria-sort', state.down ? 'descending' : 'ascending');
    }
    row.append(cell);
  }
  const held = $('table').tHead.contains(document.activeElement) ? document.activeElement.closest('th').cellIndex : null;
  $('table').tHead.replaceChildren(row);
  if (held !== null) row.cells[held]?.firstElementChild.focus();
}

function cell(column, row) {
  if (column.virtual) return markup`<td>${column.virtual(row, column)}</td>`;
  const value = valueAt(column, row);
  if (column.name === 'experiment' && value !== null && D.explorer && /^(file|https?):$/.test(location.protocol)) {
    const names = value.split('+').filter(name => D.experiments.includes(name));
    if (names.length) return markup`<td><a href="explorer.html#exp=${names.map(encodeURIComponent).join()}">${value}</a></td>`;
  }
  const title = column.name === 'quantity' ? state.sheet.quantities[value]?.meaning : typeof value === 'string' && value.length > 50 ? value : '';
  const kind = [isNumber(column) ? 'number' : '', column.name === 'value' ? 'value' : '', column.name === 'note' ? 'note' : ''].join(' ').trim();
  return markup`<td class="${kind}"${title && markup` title="${title}"`}>${column.name === 'value' ? significant(row)(value) : shown(value)}</td>`;
}

// The rows in sight, and some around them; on paper all, up to a number that prints. They are drawn anew when the table
// scrolls; a link that has the focus keeps it.
const PRINTED = 1000;
let printing = false;
function draw() {
  const frame = $('frame'), body = $('table').tBodies[0];
  const held = body.contains(document.activeElement) ? document.activeElement.closest('tr').dataset.row : null;
  const from = printing ? 0 : Math.max(0, Math.floor(frame.scrollTop / ROW) - 10);
  const to = Math.min(rows.length, printing ? PRINTED : from + Math.ceil(frame.clientHeight / ROW) + 30);
  const gap = count => count ? markup`<tr class="gap" style="height:${count * ROW}px"><td colspan="${columns.length}"></td></tr>` : '';
  const more = count => count ? markup`<tr><td class="note" colspan="${columns.length}">and ${count.toLocaleString('en')} rows more: filter them, or take them along with “Download rows”.</td></tr>` : '';
  body.innerHTML = String(joined([gap(from), ...rows.slice(from, to).map(row => markup`<tr data-row="${row}">${columns.map(column => cell(column, row))}</tr>`), printing ? more(rows.length - to) : gap(rows.length - to)], ''))
    || `<tr><td class="note">No row fits.</td></tr>`;
  if (held !== null) body.querySelector(`tr[data-row="${held}"] a`)?.focus({ preventScroll: true });
}

// The rows that are shown, in their order, with all columns of the file.
function saveRows() {
  const names = state.sheet.columns.map(column => column.name);
  saveTable(`${D.edition}-${state.sheet.name}.csv`, names, rows.map(row => state.sheet.columns.map(column => valueAt(column, row))));
}

// The address names the table, the search and the filters; what it names in vain is said.
function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1)), strange = [];
  const table = words.get('table'), known = D.sheets.some(sheet => sheet.name === table);
  if (location.hash.length > 1 && !known) strange.push(table ?? location.hash.slice(1));
  open(known ? table : D.sheets[0].name);
  state.q = $('search').value = words.get('q') ?? '';
  for (const [name, wanted] of words) if (!['table', 'q'].includes(name)) {
    const select = [...$('choices').querySelectorAll('select')].find(one => one.dataset.column === name);
    if (select && [...select.options].some(option => option.value === wanted)) state.chosen[name] = wanted;
    else if (known) strange.push(`${name}=${wanted}`);
  }
  update();
  $('strange').hidden = strange.length === 0;
  $('strange').textContent = strange.length ? `The address names what is not in this report: “${strange.join('”, “')}”.` : '';
}

unpack('data', data => {
  D = data;
  for (const sheet of D.sheets) {
    const button = element('button', {}, element('span', { textContent: sheet.name.replaceAll('_', ' ') }), element('small', { textContent: sheet.rows.toLocaleString('en') }));
    button.dataset.name = sheet.name;
    button.title = sheet.title;
    button.onclick = () => { state.q = $('search').value = ''; open(sheet.name); };
    $('sheets').append(button);
  }
  $('search').oninput = event => { state.q = event.target.value; update(); };
  $('frame').addEventListener('scroll', draw, { passive: true });
  $('save').onclick = saveRows;
  window.addEventListener('resize', draw);
  window.addEventListener('beforeprint', () => { printing = true; draw(); });
  window.addEventListener('afterprint', () => { printing = false; draw(); });
  document.addEventListener('keydown', event => {
    if (event.key === '/' && !event.target.matches('input, select')) { event.preventDefault(); $('search').focus(); }
    if (event.key === 'Escape') event.target.blur();
  });
  addEventListener('hashchange', readAddress);
  readAddress();
});
