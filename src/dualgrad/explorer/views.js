// What is on the page, and what the reader can do to it.

const $ = id => document.getElementById(id);
const state = { run: null, colourBy: 'eta', axis: 'epochs', marked: null };
let found = { fits: [], facets: {}, unknown: [] };
const panels = new Map();
const ROW = 31;

function element(tag, properties = {}, ...children) {
  const one = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith('aria-') || key === 'role' || key.startsWith('data-') || key === 'for') one.setAttribute(key, value);
    else one[key] = value;
  }
  one.append(...children.filter(child => child !== null && child !== undefined && child !== ''));
  return one;
}

// ------------------------------------------------------------------------------------------------- filters

function setUp() {
  $('edition').textContent = `${D.edition.name}: ${D.edition.title}${D.edition.records === 'trained' && D.edition.name !== 'paper' ? '. Not the published results' : ''}`;
  document.title = `${D.edition.name}: census explorer`;

  const etas = D.eta.levels.map((eta, k) => [eta, k]).filter(([eta]) => eta !== null).sort(([a], [b]) => a - b);
  for (const [eta] of etas) {
    const swatch = element('i', { className: 'swatch' });
    swatch.dataset.eta = eta;
    const chip = element('button', { className: 'chip', 'aria-pressed': 'false', 'data-eta': eta },
      swatch, element('span', { textContent: eta }), element('small'));
    chip.onclick = () => { toggle(filters.eta, eta); changed(); };
    $('eta').append(chip);
  }
  const statuses = D.status.levels;
  $('status').append(element('option', { value: '', textContent: 'any' }), ...statuses.map(name => element('option', { value: name, textContent: name.replace('_', ' ') })));
  $('status').onchange = event => { filters.status = event.target.value; changed(); };
  $('seed').oninput = event => { filters.seed = event.target.value.replace(/[^\d]/g, ''); changed(); };
  $('search').oninput = event => { filters.q = event.target.value; changed(); };
  $('reset').onclick = event => {
    clearFilters();
    changed();
    if (!event.detail) $('search').focus(); // by a key: the button that had the focus is gone
  };
  $('save').onclick = saveRuns;
  $('help').onclick = () => $('manual').showModal();
  $('home').onclick = event => { event.preventDefault(); clearFilters(); state.run = null; changed(true); };
  makeHistogram('lam', 0, Number((0.02 * Math.floor(highest / 0.02 + 1 + 1e-9)).toFixed(2)), 0.02, i => [runs.low[i], runs.high[i]]);
  makeHistogram('error', 0, 1, 0.025, i => Number.isNaN(runs.error[i]) ? null : [runs.error[i], runs.error[i]]);

  let series = null;
  for (const one of D.experiments) {
    if (one.series !== series) {
      series = one.series;
      $('experiments').append(element('h3', { textContent: D.series[series] ?? series }));
    }
    const button = element('button', { className: 'experiment', 'aria-pressed': 'false', title: one.title },
      element('span', { textContent: one.name }), element('small'));
    button.onclick = () => { toggle(filters.experiments, one.name); state.run = null; changed(true); };
    one.button = button;
    $('experiments').append(button);
  }
  for (const [key, title] of [['eta', 'η'], ['run', 'Run'], ['lambda', 'λ'], ['error', 'Error']]) {
    const button = element('button', { 'data-key': key, textContent: title, title: key === 'eta' ? 'noise rate η' : '' });
    button.onclick = () => {
      if (order.key !== key) Object.assign(order, { key, down: false });
      else if (!order.down) order.down = true;
      else order.key = null;
      changed();
    };
    $('heads').append(button);
    if (key === 'run') $('heads').append(element('span'));
  }
  // Above this width nothing is there to open it by.
  const narrow = matchMedia('(max-width: 900px)');
  $('filterbox').open = !narrow.matches;
  narrow.addEventListener('change', () => { if (!narrow.matches) $('filterbox').open = true; });
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}

function clearFilters() {
  Object.assign(filters, { q: '', lam: null, error: null, seed: '', status: '' });
  filters.experiments.clear();
  filters.eta.clear();
}

const isFiltered = () => filters.q || filters.lam || filters.error || filters.seed || filters.status || filters.experiments.size || filters.eta.size;

// Bars that count, and two thumbs that choose a range.
function makeHistogram(name, low, high, step, spanOf) {
  const host = $(name);
  const bins = Math.round((high - low) / step);
  const bars = element('div', { className: 'bars', 'aria-hidden': 'true' });
  for (let k = 0; k < bins; k++) bars.append(element('i'));
  host.append(bars);
  const title = name === 'lam' ? 'λ' : 'final test error';
  const thumbs = ['lowest', 'highest'].map((which, side) => {
    const input = element('input', { type: 'range', min: low, max: high, step: name === 'lam' ? 0.01 : 0.01, value: side ? high : low, 'aria-label': `${which} ${title}` });
    input.oninput = () => {
      let [a, b] = thumbs.map(one => Number(one.value));
      if (a > b) [a, b] = side ? [b, b] : [a, a];
      filters[name] = a <= low && b >= high ? null : [a, b];
      changed();
    };
    host.append(input);
    return input;
  });
  host.show = list => {
    const counts = new Array(bins).fill(0);
    for (const i of list) {
      const span = spanOf(i);
      if (!span || !Number.isFinite(span[0])) continue;
      const [a, b] = span.map(value => Math.min(bins - 1, Math.max(0, Math.floor((value - low) / step + 1e-9))));
      for (let k = a; k <= b; k++) counts[k]++;
    }
    const most = Math.max(1, ...counts);
    const range = filters[name] ?? [low, high];
    [...bars.children].forEach((bar, k) => {
      bar.style.height = counts[k] ? `${Math.max(6, 100 * Math.sqrt(counts[k] / most))}%` : '0';
      const [a, b] = [low + k * step, low + (k + 1) * step];
      bar.className = b > range[0] + 1e-9 && a < range[1] + 1e-9 ? '' : 'out';
    });
    thumbs[0].value = range[0];
    thumbs[1].value = range[1];
    $(`${name}-range`).textContent = filters[name] ? `${range[0].toFixed(2)} to ${range[1].toFixed(2)}` : '';
  };
}

// ------------------------------------------------------------------------------------------------- address

const single = () => filters.experiments.size === 1 ? [...filters.experiments][0] : null;

function address() {
  const words = new URLSearchParams();
  if (filters.experiments.size) words.set('exp', [...filters.experiments].join());
  if (filters.eta.size) words.set('eta', [...filters.eta].join());
  if (filters.lam) words.set('lam', filters.lam.join('-'));
  if (filters.error) words.set('error', filters.error.join('-'));
  if (filters.seed) words.set('seed', filters.seed);
  if (filters.status) words.set('status', filters.status);
  if (filters.q) words.set('q', filters.q);
  if (order.key) words.set('sort', (order.down ? '-' : '') + order.key);
  if (state.run !== null) words.set('run', runs.id[state.run]);
  return `#${words.toString().replaceAll('%2F', '/').replaceAll('%2C', ',')}`;
}

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  clearFilters();
  const names = new Set(D.experiments.map(one => one.name));
  for (const name of words.get('exp')?.split(',') ?? []) if (names.has(name)) filters.experiments.add(name);
  for (const eta of words.get('eta')?.split(',') ?? []) if (D.eta.levels.includes(Number(eta))) filters.eta.add(Number(eta));
  for (const key of ['lam', 'error']) {
    const range = words.get(key)?.split('-').map(Number);
    if (range?.length === 2 && range.every(Number.isFinite)) filters[key] = range;
  }
  filters.q = words.get('q') ?? '';
  filters.seed = /^\d+$/.test(words.get('seed') ?? '') ? words.get('seed') : '';
  filters.status = D.status.levels.includes(words.get('status')) ? words.get('status') : '';
  const sort = words.get('sort') ?? '';
  Object.assign(order, { key: sort.replace('-', '') || null, down: sort.startsWith('-') });
  state.run = byId.get(words.get('run')) ?? null;
  // An address from elsewhere may name what is not here: say so rather than show something else.
  const strange = [
    ...(words.get('exp')?.split(',') ?? []).filter(name => !names.has(name)).map(name => `experiment “${name}”`),
    ...(words.get('eta')?.split(',') ?? []).filter(eta => !D.eta.levels.includes(Number(eta))).map(eta => `noise rate “${eta}”`),
    ...(words.get('run') && state.run === null ? [`run “${words.get('run')}”`] : []),
    ...(words.get('status') && !filters.status ? [`status “${words.get('status')}”`] : []),
    ...(words.get('seed') && !filters.seed ? [`seed “${words.get('seed')}”`] : []),
    ...['lam', 'error'].filter(key => words.get(key) && !filters[key]).map(key => `range “${key}=${words.get(key)}”`),
  ];
  $('strange').hidden = !strange.length;
  $('strange').textContent = strange.length ? `The address names what is not in this census: ${strange.join(', ')}.` : '';
}

// ------------------------------------------------------------------------------------------------- download

// The runs in the list, in its order, as CSV: what identifies them, their factors, and every outcome that is known.
function saveRuns() {
  const factors = Object.keys(D.factors).filter(name => !['lambda', 'noise_rate', 'seed'].includes(name));
  const names = Object.keys(outcomes);
  const head = ['edition', 'experiment', 'run', 'lam', 'noise_rate', 'seed', ...factors, 'status', 'test_error', ...names];
  const rows = found.fits.map(i => [D.edition.name, experimentOf(i).name, D.names[i], runs.lam[i], runs.eta[i], D.seed[i] < 0 ? null : D.seed[i],
    ...factors.map(name => level(D.factors[name], i)), status(i), Number.isNaN(runs.error[i]) ? null : runs.error[i],
    ...names.map(name => outcomes[name].get(i) ?? null)]);
  saveTable(`${D.edition.name}-runs.csv`, head, rows);
}

// ------------------------------------------------------------------------------------------------- updates

let waiting = false;
function changed(step = false) {
  $('strange').hidden = true;
  const there = address();
  if (there !== location.hash && !(there === '#' && !location.hash)) history[step ? 'pushState' : 'replaceState'](null, '', there);
  if (!waiting) {
    waiting = true;
    requestAnimationFrame(() => { waiting = false; update(); });
  }
}

function update() {
  found = select();
  const { fits, facets, unknown } = found;
  fits.set = new Set(fits);
  for (const [id, value] of [['search', filters.q], ['seed', filters.seed], ['status', filters.status]])
    if ($(id).value !== value) $(id).value = value;
  const results = fits.filter(made).length;
  const near = unknown.length ? nearestName(unknown[0]) : null;
  $('count').textContent = unknown.length ? `Nothing is called “${unknown[0]}”${near ? `; did you mean ${near}?` : ''}` :
    `${fits.length.toLocaleString('en')} of ${N.toLocaleString('en')} runs${results < fits.length ? `, ${results.toLocaleString('en')} made` : ''}`;
  $('reset').hidden = !isFiltered();
  const counts = (list, key) => list.reduce((map, i) => map.set(key(i), (map.get(key(i)) ?? 0) + 1), new Map());
  const perEta = counts(facets.eta, i => runs.eta[i]);
  for (const chip of $('eta').children) {
    const eta = Number(chip.dataset.eta), count = perEta.get(eta) ?? 0;
    chip.setAttribute('aria-pressed', filters.eta.has(eta));
    chip.lastChild.textContent = count.toLocaleString('en');
    chip.classList.toggle('none', !count);
  }
  const perExperiment = counts(facets.experiments, i => runs.experiment[i]);
  D.experiments.forEach((one, e) => {
    const count = perExperiment.get(e) ?? 0;
    one.button.setAttribute('aria-pressed', filters.experiments.has(one.name));
    one.button.lastChild.textContent = count;
    one.button.classList.toggle('none', !count);
  });
  $('lam').show(facets.lam);
  $('error').show(facets.error);
  for (const button of $('heads').querySelectorAll('button')) {
    const on = order.key === button.dataset.key;
    button.className = on ? (order.down ? 'down' : 'up') : '';
    button.setAttribute('aria-pressed', on);
  }
  $('spacer').style.height = `${fits.length * ROW}px`;
  rows(true);
  content();
}

// ------------------------------------------------------------------------------------------------- the list

let cursor = -1; // place in the list of the row that has the keyboard

function rows(afresh = false) {
  const host = $('rows'), { fits } = found;
  if (afresh) {
    const place = state.run === null ? -1 : fits.indexOf(state.run);
    cursor = place >= 0 ? place : Math.min(cursor, fits.length - 1);
    if (place >= 0) reveal(place);
  }
  const from = Math.max(0, Math.floor(host.scrollTop / ROW) - 6);
  const to = Math.min(fits.length, Math.ceil((host.scrollTop + host.clientHeight) / ROW) + 6);
  const several = filters.experiments.size !== 1;
  const html = [];
  for (let k = from; k < to; k++) {
    const i = fits[k];
    const cut = Math.max(0, D.names[i].lastIndexOf('_')); // what tells rows apart is at the end: never cut off
    const name = markup`${several && markup`<b>${experimentOf(i).name}</b>`}<span>${D.names[i].slice(0, cut)}</span><span>${D.names[i].slice(cut)}</span>`;
    const lam = runs.lam[i] !== null ? lambdaOf(i) : lambdaOf(i, 3, (value, digits) => trim(value, digits).replace(/^0\./, '.'));
    const tag = made(i) ? (status(i) === 'completed' ? runs.error[i].toFixed(4) : markup`<em>${status(i).replace('_failed', ' ✕')}</em> ${Number.isNaN(runs.error[i]) ? '' : runs.error[i].toFixed(3)}`) : '–';
    html.push(markup`<div class="row${i === state.run ? ' open' : ''}${k === cursor ? ' at' : ''}" role="option" id="row${k}" data-place="${k}" aria-posinset="${k + 1}" aria-setsize="${fits.length}" aria-selected="${i === state.run}" style="top:${k * ROW}px"><i class="swatch" style="background:${etaColour(runs.eta[i])}" title="η = ${runs.eta[i]}"></i><span class="name" title="${runs.id[i]}">${name}</span><span class="spark">${spark(i)}</span><span class="num lam">${lam}</span><span class="num error">${tag}</span></div>`);
  }
  $('spacer').innerHTML = fits.length ? joined(html, '') : '<p class="muted none">No run fits these filters.</p>';
  host.setAttribute('aria-activedescendant', cursor >= 0 ? `row${cursor}` : '');
}

function reveal(place) {
  const host = $('rows'), top = place * ROW;
  if (top < host.scrollTop) host.scrollTop = top;
  else if (top + ROW > host.scrollTop + host.clientHeight) host.scrollTop = top + ROW - host.clientHeight;
}

function moveTo(place) {
  if (!found.fits.length) return;
  cursor = Math.max(0, Math.min(found.fits.length - 1, place));
  reveal(cursor);
  if (state.run !== null) open(found.fits[cursor], false);
  else {
    rows();
    mark(found.fits[cursor]);
  }
}

function open(i, step = true) {
  state.run = i;
  changed(step);
  if (matchMedia('(max-width: 900px)').matches) $('content').scrollIntoView();
}

function mark(i) {
  if (state.marked === i) return;
  state.marked = i;
  if (state.run === null && single()) drawFocus();
}

// ------------------------------------------------------------------------------------------------- content

let shown = ''; // what the content is, so that only what differs is built again

function content() {
  const host = $('content');
  const focus = single();
  const key = state.run !== null ? `run ${runs.id[state.run]}` : focus ? `experiment ${focus}` : 'all';
  if (key !== shown) {
    shown = key;
    state.marked = null;
    host.replaceChildren(...(state.run !== null ? runView(state.run) : focus ? experimentView(D.experiments.find(one => one.name === focus)) : overview()));
    host.scrollTop = 0;
  }
  draw();
}

function draw() {
  readColours();
  for (const swatch of document.querySelectorAll('.swatch[data-eta]')) swatch.style.background = etaColour(Number(swatch.dataset.eta));
  if (state.run !== null) drawRunView();
  else if (single()) drawFocus();
  else drawOverview();
}

function overview() {
  if (!panels.size) for (const one of D.experiments) {
    const canvas = element('canvas', { 'aria-hidden': 'true' });
    const button = element('button', { className: 'panel', title: one.title },
      element('span', { className: 'head' }, element('b', { textContent: one.name }), element('small')),
      element('span', { className: 'title', textContent: one.title }), canvas);
    button.onclick = () => { filters.experiments.clear(); filters.experiments.add(one.name); changed(true); $('content').focus({ preventScroll: true }); };
    panels.set(one.name, { button, canvas, one });
  }
  const intro = element('p', { className: 'intro', innerHTML: 'Each panel is one experiment, each dot one run: <b>test error</b> (up) against the mixing weight <b>λ</b> (right). '
    + 'Lines join means; runs that change λ are lines, dashed where λ falls. Colour is the label-noise rate η. Click a panel, or a run in the list.' });
  const sections = [intro];
  for (const series of new Set(D.experiments.map(one => one.series))) {
    const members = D.experiments.filter(one => one.series === series);
    const heading = element('h2', {}, D.series[series] ?? series, ' ', element('small', { className: 'muted', textContent: `series ${series}` }));
    sections.push(element('section', { className: 'series' }, heading,
      element('div', { className: 'panels' }, ...members.map(one => panels.get(one.name).button))));
  }
  sections.push(element('p', { className: 'muted none', id: 'nothing', hidden: true, textContent: 'No experiment has a run that fits these filters.' }));
  return sections;
}

function drawOverview() {
  const fits = found.fits.set, visible = [];
  for (const { button, canvas, one } of panels.values()) {
    const count = one.runs.reduce((sum, i) => sum + fits.has(i), 0);
    button.hidden = !count;
    if (!count) continue;
    button.querySelector('small').textContent = count === one.count ? `${count} runs` : `${count} of ${one.count} runs`;
    visible.push([canvas, one]);
  }
  for (const section of document.querySelectorAll('.series')) section.hidden = ![...section.querySelectorAll('.panel')].some(panel => !panel.hidden);
  $('nothing').hidden = visible.length > 0;
  // What is in sight first; the rest when there is time, which there is none before a page is printed.
  const [now, later] = [[], []];
  const bottom = theme.onScreen ? Infinity : $('content').getBoundingClientRect().bottom;
  for (const [canvas, one] of visible) (canvas.getBoundingClientRect().top < bottom ? now : later).push([canvas, one]);
  for (const [canvas, one] of now) drawPanel(canvas, one, fits);
  const round = {};
  drawOverview.round = round;
  const rest = () => {
    if (drawOverview.round !== round || !later.length) return;
    for (const [canvas, one] of later.splice(0, 8)) drawPanel(canvas, one, fits);
    requestAnimationFrame(rest);
  };
  requestAnimationFrame(rest);
}

function crumbs(...steps) {
  const items = [];
  for (const [text, go] of steps) {
    if (items.length) items.push(element('span', { textContent: '›', 'aria-hidden': 'true' }));
    items.push(go ? Object.assign(element('button', { className: 'plain', textContent: text }), { onclick: go }) : element('span', { textContent: text }));
  }
  return element('nav', { className: 'crumbs', 'aria-label': 'Where you are' }, ...items);
}

const toAll = () => { filters.experiments.clear(); state.run = null; changed(true); };

function experimentView(one) {
  const factors = Object.entries(D.factors).map(([name, column]) => [name, [...new Set(one.runs.map(i => column.of[i]))].filter(k => k >= 0).map(k => column.levels[k])])
    .filter(([, levels]) => levels.length);
  const choices = [['eta', 'noise rate η'], ...factors.filter(([name, levels]) => levels.length > 1 && !['noise_rate', 'seed'].includes(name)).map(([name]) => [name, name.replaceAll('_', ' ')])];
  if (!choices.some(([key]) => key === state.colourBy)) state.colourBy = 'eta';
  const picker = element('select', { className: 'field', id: 'colour' }, ...choices.map(([value, textContent]) => element('option', { value, textContent, selected: value === state.colourBy })));
  picker.onchange = () => { state.colourBy = picker.value; drawFocus(); };
  const facts = element('dl', { className: 'facts' });
  const say = levels => {
    if (levels.every(value => typeof value === 'number')) levels.sort((a, b) => a - b);
    const counting = levels.length > 3 && levels.every((value, k) => Number.isInteger(value) && value === levels[0] + k);
    return counting ? `${levels[0]} to ${levels.at(-1)}` : levels.map(value => trim(value)).join(', ');
  };
  for (const [name, levels] of factors) facts.append(element('div', {}, element('dt', { textContent: name.replaceAll('_', ' ') }), element('dd', { textContent: say(levels) })));
  const canvas = element('canvas', { id: 'scatter', className: 'chart tall', role: 'img', 'aria-label': `Test error against λ, ${one.name}. The list of runs holds the same numbers.` });
  const history = element('canvas', { id: 'histories', className: 'chart', role: 'img', 'aria-label': `Test error over training, ${one.name}` });
  for (const chart of [canvas, history]) hovering(chart, true);
  return [
    crumbs(['All experiments', toAll], [one.name]),
    element('h2', { className: 'big' }, `${one.name} `, element('span', { className: 'muted', textContent: one.title })),
    facts,
    element('div', { className: 'card' },
      element('div', { className: 'bar' }, element('span', { id: 'legend', className: 'legend' }), choices.length > 1 ? element('label', {}, 'Colour ', picker) : ''),
      canvas, history),
    element('section', { id: 'means' }),
  ];
}

// Mean and spread over seeds: a row per λ, a column per combination of the other factors.
function meansTable(list) {
  const groups = new Map(), lambdas = new Set();
  for (const i of list) {
    if (swept(i)) continue;
    const key = `${D.eta.of[i]}|${runs.group[i]}`;
    if (!groups.has(key)) groups.set(key, { sample: i, at: new Map() });
    const { at } = groups.get(key);
    if (!at.has(runs.lam[i])) at.set(runs.lam[i], []);
    at.get(runs.lam[i]).push(runs.error[i]);
    lambdas.add(runs.lam[i]);
  }
  if (!groups.size || groups.size > 24) return [];
  const samples = [...groups.values()].map(({ sample }) => sample);
  const telling = Object.entries(D.factors).filter(([name, column]) => !['lambda', 'seed', 'replicate', 'noise_rate'].includes(name)
    && new Set(samples.map(i => column.of[i])).size > 1).map(([name]) => name);
  const several = new Set(samples.map(i => runs.eta[i])).size > 1;
  const title = i => [several || !telling.length ? `η ${trim(runs.eta[i])}` : '', ...telling.map(name => {
    const value = level(D.factors[name], i) ?? '–';
    return typeof value === 'number' ? `${name.replaceAll('_', ' ')} ${trim(value)}` : value;
  })].filter(Boolean).join(' · ');
  const cell = errors => {
    if (!errors) return '';
    const mean = errors.reduce((sum, one) => sum + one, 0) / errors.length;
    const sd = Math.sqrt(errors.reduce((sum, one) => sum + (one - mean) ** 2, 0) / errors.length);
    return markup`${mean.toFixed(4)} <small>${errors.length > 1 ? `± ${sd.toFixed(4)}, ` : ''}n ${errors.length}</small>`;
  };
  const head = markup`<tr><th scope="col">λ</th>${samples.map(i => markup`<th scope="col"><i class="swatch" style="background:${etaColour(runs.eta[i])}"></i> ${title(i)}</th>`)}</tr>`;
  const body = [...lambdas].sort((a, b) => a - b).map(lam => markup`<tr><td>${trim(lam, 4)}</td>${[...groups.values()].map(({ at }) => markup`<td>${cell(at.get(lam))}</td>`)}</tr>`);
  return [element('h3', { textContent: 'Mean final test error ± population standard deviation over runs' }),
    element('div', { className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': 'Mean final test errors', innerHTML: markup`<table class="means"><thead>${head}</thead><tbody>${body}</tbody></table>` })];
}

function drawFocus() {
  const one = D.experiments.find(each => each.name === single());
  if (!one || !$('scatter')) return;
  const fits = found.fits.set, by = state.colourBy;
  const there = one.runs.filter(i => fits.has(i) && made(i));
  let colourOf, levels;
  if (by === 'eta') {
    levels = [...new Set(one.runs.map(i => runs.eta[i]))].sort((a, b) => a - b);
    colourOf = i => etaColour(runs.eta[i]);
  } else {
    const column = D.factors[by];
    levels = inOrder([...new Set(one.runs.map(i => column.of[i]))].filter(k => k >= 0).map(k => column.levels[k]));
    colourOf = i => column.of[i] < 0 ? colours.muted : levelColour(levels, column.levels[column.of[i]]);
  }
  const sample = value => one.runs.find(i => (by === 'eta' ? runs.eta[i] : level(D.factors[by], i)) === value);
  $('legend').replaceChildren(...levels.map(value => element('span', {}, Object.assign(element('i', { className: 'swatch' }), { style: `background:${colourOf(sample(value))}` }), ` ${by === 'eta' ? 'η = ' : ''}${trim(value)}`)));
  drawExperiment($('scatter'), one, fits, colourOf, state.marked);
  const tabled = `${there.join()} ${colours.dark}`;
  if ($('means').dataset.of !== tabled) {
    $('means').dataset.of = tabled;
    $('means').replaceChildren(...meansTable(there));
  }
  const long = there.filter(i => D.trajectories.of[i] >= 0 && D.trajectories.calendars[D.trajectories.of[i]].reduce((sum, stretch) => sum + stretch[4].length, 0) > 1);
  $('histories').hidden = !long.length;
  if (long.length) drawHistories($('histories'), long, colourOf, state.marked);
}

function hovering(canvas, opens) {
  canvas.onpointermove = event => {
    const point = nearest(canvas, event);
    canvas.style.cursor = point && opens ? 'pointer' : '';
    if (!point) {
      $('tip').hidden = true;
      return;
    }
    $('tip').replaceChildren(opens ? element('b', { textContent: D.names[point.i] }) : '', opens ? element('br') : '', point.text);
    $('tip').hidden = false;
    const box = $('tip').getBoundingClientRect();
    $('tip').style.left = `${Math.min(innerWidth - box.width - 8, event.clientX + 14)}px`;
    $('tip').style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18}px`;
  };
  canvas.onpointerleave = () => { $('tip').hidden = true; };
  if (opens) canvas.onclick = event => {
    const point = nearest(canvas, event);
    if (point) { $('tip').hidden = true; open(point.i); }
  };
}

// ------------------------------------------------------------------------------------------------- one run

function runView(i) {
  const one = experimentOf(i), spec = resolved(i);
  const step = (by, sign, label) => {
    const button = element('button', { className: 'button', textContent: sign, 'aria-label': label, title: label });
    button.onclick = () => neighbour(by);
    return button;
  };
  const head = element('div', { className: 'runhead' },
    element('h2', { className: 'big mono', textContent: D.names[i] }),
    element('span', { className: `pill ${status(i)}`, textContent: status(i).replace('_', ' ') }),
    element('span', { className: 'space' }), step(-1, '‹', 'Previous run ['), step(1, '›', 'Next run ]'));
  const number = (title, value, more = '') => element('div', {}, element('dt', { textContent: title }), element('dd', {}, value, more ? element('small', { textContent: more }) : ''));
  const numbers = element('dl', { className: 'numbers' });
  numbers.append(number('final test error', Number.isNaN(runs.error[i]) ? '–' : runs.error[i].toFixed(4)));
  if (outcomes.best_error?.has(i)) numbers.append(number('lowest', outcomes.best_error.get(i).toFixed(4), outcomes.best_epoch?.has(i) ? ` epoch ${outcomes.best_epoch.get(i)}` : ''));
  numbers.append(number('λ', lambdaOf(i)));
  numbers.append(number('η', runs.eta[i] === null ? '–' : trim(runs.eta[i])));
  numbers.append(number('seed', D.seed[i] < 0 ? '–' : String(D.seed[i])));
  if (outcomes.epochs?.has(i)) numbers.append(number('epochs', String(outcomes.epochs.get(i))));
  if (outcomes.seconds?.has(i)) numbers.append(number('time', duration(outcomes.seconds.get(i))));

  const parts = [
    crumbs(['All experiments', toAll], [one.name, () => { filters.experiments.clear(); filters.experiments.add(one.name); state.run = null; changed(true); }], [D.names[i]]),
    head, element('p', { className: 'muted', textContent: one.title }), numbers,
  ];
  const evaluations = trajectory(i);
  const once = evaluations.length === 1 && evaluations[0].errors.length === 1;
  if (once) {
    const canvas = element('canvas', { id: 'scatter', className: 'chart tall', role: 'img', 'aria-label': 'This run among the runs of its experiment' });
    hovering(canvas, true);
    parts.push(element('div', { className: 'card' }, element('div', { className: 'bar' },
      element('span', { className: 'muted', textContent: 'Evaluated once, at the end: here among the runs of its experiment.' })), canvas));
  } else if (evaluations.length) {
    const canvas = element('canvas', { id: 'trajectory', className: 'chart tall', role: 'img', 'aria-label': `Test error over training: ${describeTrajectory(i)}` });
    hovering(canvas, false);
    const bar = element('div', { className: 'bar' });
    const others = siblings(i).filter(k => D.trajectories.of[k] >= 0).length;
    const legend = element('span', { className: 'legend' }, element('span', {}, Object.assign(element('i', { className: 'swatch' }), { style: `background:${etaColour(runs.eta[i])}` }), ' this run'));
    if (evaluations.some(stretch => stretch.direction === 'down')) legend.append(element('span', { className: 'falling', textContent: 'dashed: λ falling', hidden: state.axis !== 'lambda' }));
    if (others) legend.append(element('span', {}, Object.assign(element('i', { className: 'swatch' }), { style: 'background:var(--muted);opacity:.5' }), ` ${others > 60 ? `60 of ${others}` : others} with other seeds`));
    bar.append(legend);
    if (new Set(evaluations.map(stretch => stretch.lam).filter(lam => lam !== null)).size > 1) {
      const group = element('span', { className: 'switch', role: 'group', 'aria-label': 'Horizontal axis' });
      for (const [key, text] of [['epochs', 'over epochs'], ['lambda', 'over λ']]) {
        const button = element('button', { textContent: text, 'aria-pressed': state.axis === key });
        button.onclick = () => {
          state.axis = key;
          for (const each of group.children) each.setAttribute('aria-pressed', each === button);
          drawRunView();
        };
        group.append(button);
      }
      bar.append(group);
    }
    parts.push(element('div', { className: 'card' }, bar, canvas));
  } else {
    parts.push(element('p', { className: 'card muted', textContent: made(i) ? 'No trajectory was kept for this run.' : 'This run has not been made yet in these results. The command below makes it.' }));
  }

  const commands = element('section', {}, element('h3', { textContent: D.edition.records === 'ingested' ? 'Train this run' : made(i) ? 'Make this run again' : 'Make this run' }));
  for (const { about, command } of D.commands) {
    const pre = element('pre', { className: 'copyable' }, element('code', { textContent: command.replace('{run}', runs.id[i]) }),
      element('button', { className: 'button', 'data-copy': '', textContent: 'Copy' }));
    if (D.commands.length > 1) commands.append(element('p', { className: 'muted', textContent: about }));
    commands.append(pre);
  }
  const words = element('dl', { className: 'words' });
  for (const [label, html] of inWords(spec)) words.append(element('dt', { textContent: label }), element('dd', { innerHTML: html }));
  const results = element('dl', { className: 'words' });
  for (const [name, values] of Object.entries(outcomes)) {
    if (!values.has(i) || ['best_error', 'best_epoch', 'epochs', 'seconds'].includes(name)) continue;
    const { meaning = '', unit = '' } = D.meanings[name] ?? {};
    const value = values.get(i);
    const unitText = ['fraction', 'cosine', ''].includes(unit) ? '' : ` ${unit}`;
    results.append(element('dt', { textContent: name.replaceAll('_', ' '), title: meaning }),
      element('dd', { className: String(value).length > 24 ? 'mono' : '' }, value === true ? 'yes' : value === false ? 'no' : trim(value) + unitText));
  }
  const whole = element('details', { className: 'yaml' }, element('summary', { textContent: 'Whole protocol as YAML' }));
  whole.ontoggle = () => {
    if (whole.open && whole.children.length === 1)
      whole.append(element('pre', { className: 'copyable' }, element('code', { textContent: yaml(spec) }), element('button', { className: 'button', 'data-copy': '', textContent: 'Copy' })));
  };
  parts.push(
    commands,
    element('div', { className: 'two' },
      element('section', {}, element('h3', { textContent: 'Protocol' }), words),
      results.children.length ? element('section', {}, element('h3', { textContent: 'Outcome and provenance' }), results) : ''),
    element('section', {}, element('h3', { textContent: 'Stages' }), element('div', { className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': 'Stages', innerHTML: stagesTable(spec) })),
    whole);
  return parts;
}

function describeTrajectory(i) {
  const errors = trajectory(i).flatMap(stretch => stretch.errors);
  return `${errors.length} evaluation${errors.length === 1 ? '' : 's'}, from ${errors[0].toFixed(3)} to ${errors.at(-1).toFixed(3)}`;
}

function duration(seconds) {
  if (seconds < 90) return `${trim(seconds, 3)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${trim(seconds / 3600, 2)} h`;
}

function drawRunView() {
  if ($('scatter')) drawExperiment($('scatter'), experimentOf(state.run), new Set(experimentOf(state.run).runs), i => etaColour(runs.eta[i]), state.run);
  const canvas = $('trajectory');
  if (!canvas) return;
  const i = state.run, several = new Set(trajectory(i).map(stretch => stretch.lam).filter(lam => lam !== null)).size > 1;
  const againstLambda = several && state.axis === 'lambda';
  const extra = (several && !againstLambda ? 54 : 0) + (!againstLambda && cosines(i).length > 1 ? 96 : 0);
  canvas.style.height = `${270 + extra}px`;
  const falling = document.querySelector('.falling');
  if (falling) falling.hidden = !againstLambda;
  drawRun(canvas, i, { againstLambda });
}

function neighbour(by) {
  const place = found.fits.indexOf(state.run);
  const next = place < 0 ? 0 : place + by;
  if (next >= 0 && next < found.fits.length) open(found.fits[next], false);
}

// ------------------------------------------------------------------------------------------------- events

function listen() {
  const list = $('rows');
  list.addEventListener('scroll', () => rows(), { passive: true });
  list.addEventListener('click', event => {
    const row = event.target.closest('.row');
    if (row) { cursor = Number(row.dataset.place); open(found.fits[cursor]); }
  });
  list.addEventListener('pointerover', event => {
    const row = event.target.closest('.row');
    if (row) mark(found.fits[Number(row.dataset.place)]);
  });
  list.addEventListener('pointerleave', () => mark(null));
  list.addEventListener('keydown', event => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const moves = { ArrowDown: cursor + 1, ArrowUp: cursor - 1, PageDown: cursor + page, PageUp: cursor - page, Home: 0, End: found.fits.length - 1 };
    if (event.key in moves) { event.preventDefault(); moveTo(moves[event.key]); }
    if (event.key === 'Enter' && cursor >= 0) open(found.fits[cursor]);
  });
  document.addEventListener('keydown', event => {
    if ($('manual').open || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches('input, select, textarea');
    if (event.key === 'Escape') {
      if (typing) return event.target.blur();
      if (state.run !== null) { state.run = null; changed(true); $('rows').focus(); }
      else if (isFiltered()) { clearFilters(); changed(true); }
      return;
    }
    if (typing) {
      if (event.target === $('search') && (event.key === 'ArrowDown' || event.key === 'Enter')) { event.preventDefault(); list.focus(); moveTo(Math.max(0, cursor)); }
      return;
    }
    if (event.key === '/') { event.preventDefault(); $('search').focus(); $('search').select(); }
    else if (event.key === '?') $('manual').showModal();
    else if (event.key === ']' && state.run !== null) neighbour(1);
    else if (event.key === '[' && state.run !== null) neighbour(-1);
  });
  $('content').addEventListener('click', event => {
    const link = event.target.closest('a[href^="#run="]');
    if (!link) return;
    event.preventDefault();
    open(byId.get(decodeURIComponent(link.getAttribute('href').slice(5))));
  });
  window.addEventListener('popstate', () => { readAddress(); update(); });
  window.addEventListener('resize', () => { rows(); draw(); });
  document.addEventListener('themechange', () => { readColours(); shown = shown.startsWith('run') ? '' : shown; update(); });
}

unpack('data', data => {
  load(data);
  readColours();
  setUp();
  readAddress();
  listen();
  $('app').removeAttribute('aria-busy');
  update();
});
