// The runs: unpacked columns, what each one is, and which of them fit the filters.

let D; // what the page carries
let N; // number of runs
const runs = { experiment: [], eta: [], lam: [], low: [], high: [], error: [], group: [], text: [], id: [] };
let highest = 0.7; // λ of all runs, to axes and filters that all of them share
const offsets = { trajectories: [], cosines: [] };
const outcomes = {}; // name -> Map of run -> value
const byId = new Map();
let dependents; // run -> runs that need it

const level = (column, i) => column.of[i] < 0 ? null : column.levels[column.of[i]];
const status = i => level(D.status, i);
const made = i => D.error[i] >= 0 || status(i) !== 'not made';
const experimentOf = i => D.experiments[runs.experiment[i]];
const part = (key, i) => { const value = level(D.protocols[key], i); return value?.[0]; };

function load(data) {
  D = data;
  N = D.names.length;
  let first = 0;
  D.experiments.forEach((one, e) => {
    one.first = first;
    for (let i = first; i < first + one.count; i++) runs.experiment[i] = e;
    first += one.count;
    one.runs = Array.from({ length: one.count }, (_, k) => one.first + k);
  });
  for (const kind of ['trajectories', 'cosines']) {
    let at = 0;
    const length = D[kind].calendars.map(calendar =>
      kind === 'cosines' ? calendar.length : calendar.reduce((sum, stretch) => sum + stretch[4].length, 0));
    for (let i = 0; i < N; i++) {
      offsets[kind][i] = at;
      if (D[kind].of[i] >= 0) at += length[D[kind].of[i]];
    }
  }
  for (const [name, column] of Object.entries(D.outcomes)) {
    const values = new Map();
    outcomes[name] = values;
    let at = 0;
    for (const [k, gap] of column.gaps.entries()) {
      at += gap;
      values.set(at, column.levels[column.of[k]]);
    }
  }
  for (let i = 0; i < N; i++) {
    const one = experimentOf(i);
    runs.id[i] = `${one.name}/${D.names[i]}`;
    byId.set(runs.id[i], i);
    runs.eta[i] = level(D.eta, i);
    runs.lam[i] = level(D.lam, i);
    runs.error[i] = D.error[i] < 0 ? NaN : D.error[i] / 1e4;
    const visited = runs.lam[i] !== null ? [runs.lam[i]] : lambdasOf(i);
    runs.low[i] = Math.min(...visited);
    runs.high[i] = Math.max(...visited);
    if (visited.length) highest = Math.max(highest, runs.high[i]);
    runs.group[i] = Object.keys(D.factors).filter(name => !['lambda', 'seed', 'replicate'].includes(name))
      .map(name => D.factors[name].of[i]).join();
    const task = part('task', i);
    runs.text[i] = [runs.id[i], one.title, one.series, D.series[one.series] ?? '', task.dataset, task.model.name,
      part('method', i), status(i), ...factorsOf(i).map(([name, value]) => `${name}=${value}`)].join(' ').toLowerCase();
  }
}

const factorsOf = i => Object.entries(D.factors).filter(([, column]) => column.of[i] >= 0)
  .map(([name, column]) => [name, level(column, i)]);

function lambdasOf(i) {
  const found = new Set();
  for (const stage of part('stages', i)) for (const segment of stage.segments) found.add(segment.lambda);
  return [...found];
}

// The λ of a run, or its range; a run that trains nothing has none.
function lambdaOf(i, digits = 4, write = trim) {
  if (runs.lam[i] !== null) return write(runs.lam[i], digits);
  return Number.isFinite(runs.low[i]) ? `${write(runs.low[i], 3)}–${write(runs.high[i], 3)}` : '–';
}

// Evaluations: stretches of one stage, branch and λ, each with epochs and errors.
function trajectory(i) {
  const number = D.trajectories.of[i];
  if (number < 0) return [];
  let at = offsets.trajectories[i];
  return D.trajectories.calendars[number].map(([stage, branch, direction, lam, epochs]) => {
    const errors = epochs.map(() => D.trajectories.errors[at++] / 1e4);
    return { stage, branch, direction, lam, epochs, errors };
  });
}

function cosines(i) {
  const number = D.cosines.of[i];
  if (number < 0) return [];
  let at = offsets.cosines[i];
  return D.cosines.calendars[number].map(epoch => {
    const value = D.cosines.values[at++];
    return [epoch, value === null ? NaN : value / 1e3];
  });
}

// A trajectory on one axis: epochs of a branch run on where a new session starts to count again.
function timeline(i) {
  const sessions = new Map(part('stages', i).map(stage => [stage.name, stage.session ?? stage.name]));
  const clocks = new Map();
  return trajectory(i).map(stretch => {
    const session = sessions.get(stretch.stage) ?? stretch.stage;
    const clock = clocks.get(stretch.branch) ?? { base: 0, last: 0, session };
    clocks.set(stretch.branch, clock);
    if (session !== clock.session) Object.assign(clock, { base: clock.last, session });
    const x = stretch.epochs.map(epoch => clock.base + epoch);
    clock.last = x.at(-1);
    return { ...stretch, x, base: clock.base };
  });
}

// ------------------------------------------------------------------------------------------------- filters

const filters = { q: '', experiments: new Set(), eta: new Set(), lam: null, error: null, seed: '', status: '' };
const order = { key: null, down: false };

const COMPARISON = /^([a-zA-Z_λη][\w-]*)(<=|>=|!=|=|<|>)(.+)$/;
const ALIASES = { 'λ': 'lambda', lam: 'lambda', 'η': 'eta', noise: 'eta', noise_rate: 'eta', test_error: 'error', best: 'best_error' };
const OWN = ['lambda', 'eta', 'error', 'seed', 'status', 'experiment', 'series', 'dataset', 'model', 'method'];

// Words of a search; an operator holds its two sides together, with or without spaces around it.
const wordsOf = text => text.replace(/\s*(<=|>=|!=|=|<|>)\s*/g, '$1').trim().split(/\s+/).filter(Boolean);

// The known name nearest to a mistyped one, or none that is near.
function nearestName(name) {
  const distance = (a, b) => {
    let row = Array.from({ length: b.length + 1 }, (_, k) => k);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let k = 1; k <= b.length; k++) next[k] = Math.min(next[k - 1] + 1, row[k] + 1, row[k - 1] + (a[i - 1] !== b[k - 1]));
      row = next;
    }
    return row[b.length];
  };
  const names = [...OWN, ...Object.keys(ALIASES), ...Object.keys(D.factors), ...Object.keys(outcomes)];
  const [far, best] = names.map(one => [distance(name.toLowerCase(), one), one]).sort(([a], [b]) => a - b)[0];
  return far <= Math.max(1, Math.floor(name.length / 3)) ? best : null;
}

function outcomeOf(i, key) {
  switch (key) {
    case 'lambda': return runs.lam[i];
    case 'eta': return runs.eta[i];
    case 'error': return runs.error[i];
    case 'seed': return D.seed[i] < 0 ? null : D.seed[i];
    case 'status': return status(i);
    case 'experiment': return experimentOf(i).name;
    case 'series': return experimentOf(i).series;
    case 'dataset': return part('task', i).dataset;
    case 'method': return part('method', i);
  }
  if (D.factors[key]?.of[i] >= 0) return level(D.factors[key], i);
  if (key === 'model') return part('task', i).model.name;
  return outcomes[key]?.get(i) ?? null;
}

const known = key => OWN.includes(key) || key in D.factors || key in outcomes;

function comparison(word) {
  const found = COMPARISON.exec(word);
  if (!found) {
    // The whole name of an experiment or a run means that one, not all that it is a part of.
    if (D.experiments.some(one => one.name === word)) return i => experimentOf(i).name === word;
    if (byId.has(word)) return i => runs.id[i] === word;
    if (D.names.includes(word)) return i => D.names[i] === word;
    return i => runs.text[i].includes(word.toLowerCase());
  }
  const [, name, sign, right] = found;
  const key = ALIASES[name] ?? name;
  if (!known(key)) return Object.assign(() => false, { unknown: name });
  const number = right.trim() === '' ? NaN : Number(right);
  const same = value => typeof value === 'number' ? Math.abs(value - number) < 1e-9 : String(value).toLowerCase() === right.toLowerCase();
  return i => {
    const value = outcomeOf(i, key);
    if (value === null || Number.isNaN(value)) return false;
    switch (sign) {
      case '=': return same(value);
      case '!=': return !same(value);
      case '<': return value < number;
      case '>': return value > number;
      case '<=': return value <= number + 1e-9;
      default: return value >= number - 1e-9;
    }
  };
}

// Which runs fit; and for each filter, which would if it alone were lifted: what a facet counts.
function select() {
  const tests = wordsOf(filters.q).map(comparison);
  const seed = filters.seed.trim() === '' ? null : Number(filters.seed);
  const wanted = filters.experiments, etas = filters.eta;
  const facets = { experiments: [], eta: [], lam: [], error: [], status: [] };
  const fits = [];
  for (let i = 0; i < N; i++) {
    if (!tests.every(test => test(i)) || (seed !== null && D.seed[i] !== seed)) continue;
    const failing = [];
    if (wanted.size && !wanted.has(experimentOf(i).name)) failing.push('experiments');
    if (etas.size && !etas.has(runs.eta[i])) failing.push('eta');
    if (filters.lam && (runs.high[i] < filters.lam[0] - 1e-9 || runs.low[i] > filters.lam[1] + 1e-9)) failing.push('lam');
    if (filters.error && !(runs.error[i] >= filters.error[0] - 1e-9 && runs.error[i] <= filters.error[1] + 1e-9)) failing.push('error');
    if (filters.status && status(i) !== filters.status) failing.push('status');
    if (!failing.length) fits.push(i);
    if (failing.length < 2) for (const name in facets) if (!failing.length || failing[0] === name) facets[name].push(i);
  }
  const unknown = tests.map(test => test.unknown).filter(Boolean);
  return { fits: sorted(fits), facets, unknown };
}

function sorted(list) {
  if (!order.key) return list;
  const sign = order.down ? -1 : 1;
  const value = order.key === 'run' ? i => runs.id[i] : i => outcomeOf(i, order.key);
  const empty = one => one === null || Number.isNaN(one);
  const keyed = list.map(i => [value(i), i]);
  keyed.sort(([a, i], [b, k]) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b) || i - k; // what has no value comes last either way
    return sign * (typeof a === 'string' ? a.localeCompare(b, 'en', { numeric: true }) : a - b) || i - k;
  });
  return keyed.map(([, i]) => i);
}

// Runs that differ from this one in seed or replicate only.
function siblings(i) {
  return experimentOf(i).runs.filter(k => k !== i && runs.group[k] === runs.group[i] && D.eta.of[k] === D.eta.of[i]
    && (D.factors.lambda?.of[k] ?? -1) === (D.factors.lambda?.of[i] ?? -1));
}

function neededBy(id) {
  if (!dependents) {
    dependents = new Map();
    for (let i = 0; i < N; i++)
      for (const need of part('needs', i) ?? []) {
        if (!dependents.has(need)) dependents.set(need, []);
        dependents.get(need).push(runs.id[i]);
      }
  }
  return dependents.get(id) ?? [];
}
